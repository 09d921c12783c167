//! What the kernel tells of the way to a peer, in a network namespace of its own. Without the right to make one, or
//! without iproute2, it says so and tests nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use futures::FutureExt as _;
use link::{Network as _, UdpNetwork, Way};

/// Set in the process that is in the namespace.
const INSIDE: &str = "SKEIN_TEST_INSIDE_NAMESPACE";
/// No notice takes longer; the kernel sends them at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `ip` with these arguments; whether it went well.
fn ip(arguments: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ran = Command::new("ip").args(arguments.split(' ')).env("PATH", path).output();
    ran.is_ok_and(|ran| ran.status.success())
}

#[test]
fn the_kernel_tells_when_the_way_to_a_peer_is_gone_back_or_another_one() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let mut own = Command::new("unshare");
    own.args(["--net", "--"]).arg(std::env::current_exe().unwrap()).args(["--nocapture", "--test-threads=1"]);
    let may = Command::new("unshare").args(["--net", "--", "true"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) || !ip("-V") {
        println!("not tested: no network namespace can be made here (root and iproute2 are needed)");
        return;
    }
    assert!(own.env(INSIDE, "1").status().unwrap().success());
}

fn inside() {
    if !ip("link add near type veth peer name far") {
        println!("not tested: the kernel makes no pairs of interfaces here");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, follow()).await.unwrap() });
}

async fn follow() {
    let network = UdpNetwork::default();
    let peer: SocketAddr = "10.9.0.2:8444".parse().unwrap();
    let there = |way: Option<Way>| way.map(|way| way.source.to_string());
    assert_eq!(network.way(peer), None, "nothing leads there yet");
    let begins = network.rerouted(peer, None);
    for step in ["addr add 10.9.0.1/24 dev near", "link set far up", "link set near up"] {
        assert!(ip(step), "{step}");
    }
    begins.await;
    let first = network.way(peer);
    assert_eq!(there(first).as_deref(), Some("10.9.0.1"));

    // A pod comes: nothing of it leads to the peer.
    let mut other = network.rerouted(peer, first);
    for step in ["link add pod type veth peer name other", "addr add 10.8.0.1/24 dev pod", "link set pod up"]
    {
        assert!(ip(step), "{step}");
    }
    for _ in 0..100 {
        assert!((&mut other).now_or_never().is_none(), "that was no news");
        tokio::task::yield_now().await;
    }

    // The cable is unplugged: the address and the route are still there.
    assert!(ip("link set far down"));
    other.await;
    assert_eq!(network.way(peer), None);
    let back = network.rerouted(peer, None);
    assert!(ip("link set far up"));
    back.await;
    assert_eq!(network.way(peer), first);

    // The machine has another address.
    let moved = network.rerouted(peer, first);
    assert!(ip("addr del 10.9.0.1/24 dev near") && ip("addr add 10.9.0.7/24 dev near"));
    moved.await;
    while there(network.way(peer)).as_deref() != Some("10.9.0.7") {
        network.rerouted(peer, UdpNetwork::default().way(peer)).await;
    }

    // And the new protocol.
    let sixth: SocketAddr = "[fd00::2]:8444".parse().unwrap();
    assert_eq!(network.way(sixth), None);
    let begins = network.rerouted(sixth, None);
    assert!(ip("addr add fd00::1/64 dev near nodad"));
    begins.await;
    assert_eq!(there(network.way(sixth)).as_deref(), Some("fd00::1"));
}
