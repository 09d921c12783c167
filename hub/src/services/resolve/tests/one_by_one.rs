//! `continueOnError: false`: one service after the other, and none behind one that failed.

use super::*;

fn stopping(services: Value) -> Value {
    json!({"provider": {"config": {"continueOnError": false}}, "services": services})
}

#[test]
fn services_of_a_set_that_stops_at_errors_come_one_after_the_other_as_listed() {
    let services = json!([service("z", "one"), service("a", "two"), service("m", "three")]);
    let world = World::new(stopping(services.clone()));
    assert_eq!(world.units(), ["shop a two [\"z\"]", "shop m three [\"a\"]", "shop z one []"]);
    assert_eq!(
        World::new(json!({"services": services})).units(),
        ["shop a two []", "shop m three []", "shop z one []"]
    );
}

#[test]
fn behind_one_that_cannot_be_built_nothing_is_begun_and_it_says_which() {
    let services = json!([service("z", "one"), service("b", "nowhere"), service("a", "two")]);
    let world = World::new(stopping(services.clone()));
    assert_eq!(world.units(), ["shop z one []"]);
    let problems = world.problems();
    assert!(
        problems[0].starts_with("a: is not begun, and what is there stays as it is: service"),
        "{problems:?}"
    );
    assert!(problems[0].contains("default/b comes first and has failed"), "{problems:?}");
    // Also where it is already: it keeps what it has, and gets nothing new.
    assert_eq!(World::new(stopping(services)).at("a", "two", true).units(), ["shop z one []"]);
}
