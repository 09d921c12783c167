//! Links on a kernel that drops UDP, in a network namespace of its own.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use link::{Carrier, Network, UdpNetwork};
use skein_tests::crowd::Scene;
use skein_tests::measure::{Aim, Table, quantile};

use crate::AS_REGION;

/// The first argument of a process of this program that is in the namespace.
pub(crate) const INSIDE: &str = "--inside-namespace";
/// Edges, each of which has to find out for itself.
const EDGES: usize = 10;

/// Runs the measurement in a namespace; says why not where none can be made.
pub(crate) fn measure() -> Result<()> {
    let may = Command::new("unshare").args(["--net", "--", "true"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) || !system("ip", "-V") || !system("iptables", "-V") {
        #[expect(clippy::print_stdout, reason = "a benchmark tells what it cannot measure")]
        {
            println!("\ncarriers: not measured, for it takes root, iproute2 and iptables");
        }
        return Ok(());
    }
    let mut own = Command::new("unshare");
    own.args(["--net", "--"]).arg(std::env::current_exe()?).arg(INSIDE);
    ensure!(own.status()?.success(), "the measurement in the namespace failed");
    Ok(())
}

/// What runs in the namespace.
pub(crate) async fn inside() -> Result<()> {
    ensure!(system("ip", "link set lo up"), "no network in the namespace");
    let mut scene = Scene::start(AS_REGION).await?;
    let port = scene.region_listens().port();
    let udp = |through: bool| {
        let does = if through { "-D" } else { "-I" };
        ensure!(
            system("iptables", &format!("{does} INPUT -p udp --dport {port} -j DROP")),
            "no packet filter"
        );
        Ok(())
    };
    udp(false)?;
    let begun = Instant::now();
    let mut crowds = Vec::new();
    for _ in 0..EDGES {
        let network: Arc<dyn Network> = UdpNetwork::shared();
        crowds.push(scene.begin(1, &network)?);
    }
    let mut first = Vec::new();
    for crowd in &mut crowds {
        crowd.linked().await?;
        crowd.carried(Carrier::Tcp).await?;
        first.extend(crowd.linked_after(begun));
    }
    udp(true)?;
    let begun = Instant::now();
    for crowd in &mut crowds {
        crowd.carried(Carrier::Udp).await?;
    }
    let back = begun.elapsed().as_secs_f64();
    let table = Table::new("link", &format!("{EDGES} edges on a kernel that drops UDP"));
    table.row("UDP blocked: Welcome over TCP, p50", quantile(&mut first, 0.5), "s", Aim::None);
    table.row("UDP blocked: Welcome over TCP, the last", quantile(&mut first, 1.0), "s", Aim::AtMost(3.0));
    table.row("UDP unblocked: back on it, the last", back, "s", Aim::AtMost(60.0));
    scene.end().await;
    Ok(())
}

/// Runs a program of the system with these arguments; whether it went well.
fn system(program: &str, arguments: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ran = Command::new(program).args(arguments.split_whitespace()).env("PATH", path).output();
    ran.is_ok_and(|ran| ran.status.success())
}
