//! The image of all containers of tests: a one-layer OCI archive with a static program, made on the spot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::process::output;

/// Its name on the nodes.
pub const IMAGE: &str = "skein.test/actor:1";
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/parts/nodes/actor.rs");

/// Builds the program and makes an archive for `ctr images import` in `dir`; answers where it is.
pub(super) fn write(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("image");
    let (content, blobs) = (root.join("content"), root.join("layout/blobs/sha256"));
    std::fs::create_dir_all(&content)?;
    std::fs::create_dir_all(&blobs)?;
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"]);
    output(rustc.arg(content.join("actor")).arg(SOURCE)).context("failed to build the actor")?;
    let layer = root.join("layer.tar");
    output(Command::new("tar").arg("-C").arg(&content).args(["-cf"]).arg(&layer).arg("actor"))?;
    let blob = |bytes: &[u8], media: &str| -> Result<(String, Value)> {
        let file = root.join("blob");
        std::fs::write(&file, bytes)?;
        let sum = output(Command::new("sha256sum").arg(&file))?;
        let sum = sum.split(' ').next().unwrap_or_default().to_owned();
        std::fs::rename(&file, blobs.join(&sum))?;
        let digest = format!("sha256:{sum}");
        let descriptor = json!({"mediaType": media, "digest": digest, "size": bytes.len()});
        Ok((digest, descriptor))
    };
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let (digest, layer) = blob(&std::fs::read(&layer)?, &oci("layer.v1.tar"))?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]},
        "config": {"Entrypoint": ["/actor"], "Cmd": ["pause"]},
    });
    let (_, config) = blob(config.to_string().as_bytes(), &oci("config.v1+json"))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": oci("manifest.v1+json"), "config": config, "layers": [layer],
    });
    let (_, mut manifest) = blob(manifest.to_string().as_bytes(), &oci("manifest.v1+json"))?;
    manifest["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let layout = root.join("layout");
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let archive = root.join("actor.tar");
    let mut tar = Command::new("tar");
    output(tar.arg("-C").arg(&layout).arg("-cf").arg(&archive).args(["oci-layout", "index.json", "blobs"]))?;
    Ok(archive)
}
