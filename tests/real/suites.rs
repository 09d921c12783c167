//! Tests of other crates that can be held against a real API server: here they are.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::Process;
use skein_tests::{parts, wait};

use crate::kubelet::Kubelet;

/// Building is the longer part, and others may build beside.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// Runs `cargo test` with these arguments and one variable, and answers what it said.
async fn cargo_test(
    folder: &Path,
    arguments: &[&str],
    variable: &str,
    kubeconfig: &Path,
    tests: &[&str],
) -> Result<String> {
    let cargo = std::env::var_os("CARGO").context("these tests are run by cargo")?;
    let mut command = Command::new(cargo);
    command.arg("test").args(arguments).arg("--").args(tests).env(variable, kubeconfig);
    // What cargo tells this test program of itself is not for another one.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"))
    {
        command.env_remove(name);
    }
    command.env_remove("CARGO_MANIFEST_DIR").current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut process = Process::spawn("cargo test", &mut command, &folder.join("cargo.log"))?;
    let ended = wait::until("cargo test has ended", PATIENCE, || {
        let ended = process.exited();
        async move { Ok(ended) }
    });
    let status = ended.await.with_context(|| process.log_tail(60))?;
    let said = process.log_tail(400);
    anyhow::ensure!(status.success(), "{status}:\n{said}");
    Ok(said)
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn kube_local_answers_as_a_real_api_server_does() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("skein-differential-").tempdir()?;
    let plane = ControlPlane::start_bare(&parts::require_parts()?, folder.path()).await?;
    let arguments = ["-p", "kube-local", "--test", "differential"];
    let tests = ["--ignored", "--nocapture"];
    let said =
        cargo_test(folder.path(), &arguments, "KUBE_LOCAL_REFERENCE", plane.kubeconfig(), &tests).await?;
    let count = said.lines().find(|line| line.contains(" agree, ")).context("nothing was compared")?;
    println!("{count}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real parts: tests/run"]
async fn the_engine_of_desired_state_passes_its_tests_on_a_real_api_server() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("skein-engine-").tempdir()?;
    let plane = ControlPlane::start(&parts::require_parts()?, folder.path()).await?;
    let _kubelet = Kubelet::start(plane.client().await?);
    let arguments = ["-p", "state", "--lib"];
    // Not all of them: each begins with an empty cluster, and a real namespace takes seconds to go.
    let tests = [
        "tests::drift",
        "tests::hooks",
        "tests::removal",
        "tests::apply::a_unit",
        "tests::apply::another_managers",
        "tests::apply::definitions",
        "tests::apply::only_what_changed",
        "--test-threads=1",
    ];
    let kubeconfig = plane.kubeconfig();
    let said =
        cargo_test(folder.path(), &arguments, "SKEIN_STATE_TEST_KUBECONFIG", kubeconfig, &tests).await?;
    let passed = said.lines().find(|line| line.starts_with("test result: ok."));
    println!("{}", passed.context("no result")?);
    Ok(())
}
