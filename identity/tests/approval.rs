//! Who is let in without a question.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use identity::approval::{Asking, Cidr, Conditions, Policy};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_holds_its_addresses_and_no_others() {
    for (network, inside, outside) in [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("192.168.7.0/25", "192.168.7.127", "192.168.7.128"),
        ("192.168.7.9/32", "192.168.7.9", "192.168.7.8"),
        ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::/0", "2001:db8::1", "203.0.113.1"),
        ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
    ] {
        let parsed: Cidr = network.parse().unwrap();
        assert_eq!(parsed.to_string(), network);
        assert!(parsed.contains(ip(inside)), "{network} {inside}");
        assert!(!parsed.contains(ip(outside)), "{network} {outside}");
    }
}

#[test]
fn what_is_no_network_is_refused_with_its_text_and_what_is_accepted() {
    for text in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0/8",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "::/129",
        "::/",
        "a/8",
        "1/2/3",
    ] {
        let error = text.parse::<Cidr>().unwrap_err().to_string();
        assert!(error.contains(&format!("\"{text}\"")) && error.contains("10.0.0.0/8"), "{error}");
    }
    assert!("x".repeat(100_000).parse::<Cidr>().unwrap_err().to_string().len() < 300);
}

#[test]
fn a_device_waits_for_the_first_condition_that_it_does_not_meet() {
    let labels = |value: &str| BTreeMap::from([("site".to_owned(), value.to_owned())]);
    let all = Conditions {
        count: Some(2),
        from: Some(100),
        until: Some(200),
        labels: labels("store"),
        sources: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
    };
    let (store, depot, none) = (labels("store"), labels("depot"), BTreeMap::new());
    let fine = Asking { labels: &store, from: Some(ip("10.1.1.1")), admitted: 1, now: 100 };
    let waits = |asking: Asking<'_>| Policy::Automatic(all.clone()).waits(&asking);
    assert_eq!(waits(fine), None);
    assert_eq!(waits(Asking { now: 199, from: Some(ip("2001:db8::7")), ..fine }), None);
    for (asking, why) in [
        (
            Asking { labels: &depot, ..fine },
            "label \"site\" is \"depot\", spec.approval.labels asks for \"store\"",
        ),
        (
            Asking { labels: &none, ..fine },
            "label \"site\" is absent, spec.approval.labels asks for \"store\"",
        ),
        (Asking { now: 99, ..fine }, "it asked before spec.approval.from"),
        (Asking { now: 200, ..fine }, "it did not ask before spec.approval.until"),
        (Asking { from: Some(ip("11.0.0.1")), ..fine }, "11.0.0.1 is in none of spec.approval.sourceCidrs"),
        (
            Asking { from: None, ..fine },
            "the region does not tell where it asks from, spec.approval.sourceCidrs wants to know",
        ),
        (Asking { admitted: 2, ..fine }, "spec.approval.count lets in 2, and so many came before"),
    ] {
        assert_eq!(waits(asking).as_deref(), Some(why));
    }
    // Without conditions everybody is let in, and by hand nobody.
    assert_eq!(
        Policy::Automatic(Conditions::default()).waits(&Asking { from: None, labels: &none, ..fine }),
        None
    );
    assert_eq!(Policy::Manual.waits(&fine).as_deref(), Some("spec.approval.policy is Manual"));
}
