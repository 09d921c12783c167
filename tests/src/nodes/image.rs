//! Images of tests: one-layer OCI archives, made on the spot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::process::output;

/// Name on the nodes of the image of all containers of services: a static program that plays many parts.
pub const IMAGE: &str = "skein.test/actor:1";
/// Name of the image with Skein's own programs, where it was imported.
pub const SKEIN_IMAGE: (&str, &str) = ("skein.test/skein", "test");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/parts/nodes/actor.rs");

/// Builds the actor and makes an archive for `ctr images import` in `dir`; answers where it is.
pub(super) fn actor(dir: &Path) -> Result<PathBuf> {
    let content = dir.join("actor");
    std::fs::create_dir_all(&content)?;
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"]);
    output(rustc.arg(content.join("actor")).arg(SOURCE)).context("failed to build the actor")?;
    pack(dir, &content, IMAGE, &json!({"Entrypoint": ["/actor"], "Cmd": ["pause"]}))
}

/// Makes an archive of `skein`, under the names of all agents, with the libraries that it is linked to.
pub(super) fn skein(dir: &Path, program: &Path) -> Result<PathBuf> {
    let content = dir.join("skein");
    let programs = content.join("usr/bin");
    std::fs::create_dir_all(&programs)?;
    let stripped = programs.join("skein");
    output(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(program))?;
    for agent in ["hub", "regional-agent", "edge-agent"] {
        std::os::unix::fs::symlink("skein", programs.join(agent))?;
    }
    let libraries = output(Command::new("ldd").arg(program))?;
    let libraries: Vec<&str> = libraries.split_whitespace().filter(|word| word.starts_with('/')).collect();
    ensure!(!libraries.is_empty(), "{} is linked to nothing", program.display());
    for library in libraries {
        let to = content.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().context("a library has a folder")?)?;
        std::fs::copy(library, to)?;
    }
    let (name, tag) = SKEIN_IMAGE;
    let config = json!({"Entrypoint": ["/usr/bin/skein"], "Env": ["PATH=/usr/bin"]});
    pack(dir, &content, &format!("{name}:{tag}"), &config)
}

/// Makes an archive of the files of a folder.
fn pack(dir: &Path, content: &Path, name: &str, config: &Value) -> Result<PathBuf> {
    let root = content.with_extension("image");
    let blobs = root.join("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let layer = root.join("layer.tar");
    output(
        Command::new("tar")
            .arg("-C")
            .arg(content)
            .args(["--owner=0", "--group=0", "-cf"])
            .arg(&layer)
            .arg("."),
    )?;
    let keep = |file: &Path, media: &str| -> Result<(String, Value)> {
        let size = std::fs::metadata(file)?.len();
        let sum = output(Command::new("sha256sum").arg(file))?;
        let sum = sum.split(' ').next().unwrap_or_default().to_owned();
        std::fs::rename(file, blobs.join(&sum))?;
        let digest = format!("sha256:{sum}");
        let descriptor = json!({"mediaType": media, "digest": digest, "size": size});
        Ok((digest, descriptor))
    };
    let keep_text = |text: &Value, media: &str| {
        let file = root.join("blob");
        std::fs::write(&file, text.to_string())?;
        keep(&file, media)
    };
    let oci = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let (digest, layer) = keep(&layer, &oci("layer.v1.tar"))?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]},
        "config": config,
    });
    let (_, config) = keep_text(&config, &oci("config.v1+json"))?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": oci("manifest.v1+json"), "config": config, "layers": [layer],
    });
    let (_, mut manifest) = keep_text(&manifest, &oci("manifest.v1+json"))?;
    manifest["annotations"] = json!({"io.containerd.image.name": name});
    let layout = root.join("layout");
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let archive = dir.join(content.with_extension("tar").file_name().context("a folder has a name")?);
    let mut tar = Command::new("tar");
    output(tar.arg("-C").arg(&layout).arg("-cf").arg(&archive).args(["oci-layout", "index.json", "blobs"]))?;
    std::fs::remove_dir_all(&root)?;
    Ok(archive)
}
