//! Lists and watches: what a watcher sees, from where, and what it may believe.

use super::*;

#[tokio::test]
async fn a_watch_sees_what_happens_after_the_list() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    api.create(&post(), &config_map("before", &[])).await.unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    api.create(&post(), &config_map("after", &[])).await.unwrap();
    api.delete("after", &DeleteParams::default()).await.unwrap();
    let WatchEvent::Added(added) = soon(watch.next()).await.unwrap().unwrap() else {
        panic!("expected ADDED")
    };
    assert_eq!(added.metadata.name.as_deref(), Some("after"));
    let WatchEvent::Deleted(deleted) = soon(watch.next()).await.unwrap().unwrap() else {
        panic!("expected DELETED")
    };
    assert!(deleted.metadata.resource_version > added.metadata.resource_version);
}

#[tokio::test]
async fn a_watch_with_a_selector_sees_objects_come_into_view_and_leave() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let created = api.create(&post(), &config_map("a", &[])).await.unwrap();
    let version = created.metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("tier=front");
    let mut watch = api.watch(&params, &version).await.unwrap().boxed();
    for tier in ["front", "front", "back"] {
        let patch = json!({"metadata": {"labels": {"tier": tier}}, "data": {"turn": uuid::Uuid::new_v4()}});
        api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }
    let mut words = Vec::new();
    for _ in 0..3 {
        words.push(match soon(watch.next()).await.unwrap().unwrap() {
            WatchEvent::Added(_) => "ADDED",
            WatchEvent::Modified(_) => "MODIFIED",
            WatchEvent::Deleted(_) => "DELETED",
            WatchEvent::Bookmark(_) => "BOOKMARK",
            WatchEvent::Error(_) => "ERROR",
        });
    }
    assert_eq!(words, ["ADDED", "MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_is_told_410_and_the_watcher_recovers() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let first = api.create(&post(), &config_map("a", &[])).await.unwrap();
    for turn in 0..5000 {
        let patch = Patch::Merge(json!({"data": {"turn": turn.to_string()}}));
        api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let version = first.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let WatchEvent::Error(gone) = soon(watch.next()).await.unwrap().unwrap() else {
        panic!("expected ERROR")
    };
    assert_eq!((gone.code, gone.reason.as_str()), (410, "Expired"));
    assert!(soon(watch.next()).await.is_none(), "the watch ends");
    let mut objects = watcher(api, watcher::Config::default()).applied_objects().boxed();
    let seen = objects.try_next().await.unwrap().unwrap();
    assert_eq!(seen.data.unwrap()["turn"], "4999");
}

#[tokio::test]
async fn streaming_lists_end_with_the_bookmark_that_says_so() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    for name in ["a", "b"] {
        api.create(&post(), &config_map(name, &[])).await.unwrap();
    }
    let mut events = watcher(api.clone(), watcher::Config::default().streaming_lists()).boxed();
    let mut words = Vec::new();
    while words.last() != Some(&"InitDone") {
        words.push(match events.try_next().await.unwrap().unwrap() {
            watcher::Event::Init => "Init",
            watcher::Event::InitApply(_) => "InitApply",
            watcher::Event::InitDone => "InitDone",
            watcher::Event::Apply(_) => "Apply",
            watcher::Event::Delete(_) => "Delete",
        });
    }
    assert_eq!(words, ["Init", "InitApply", "InitApply", "InitDone"]);
    api.create(&post(), &config_map("c", &[])).await.unwrap();
    assert!(matches!(events.try_next().await.unwrap().unwrap(), watcher::Event::Apply(_)));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_move_a_quiet_watch_forward() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let secrets: Api<Secret> = Api::namespaced(cluster.client(), "default");
    let made = secrets.create(&post(), &from(json!({"metadata": {"name": "s"}}))).await.unwrap();
    let WatchEvent::Bookmark(bookmark) = soon(watch.next()).await.unwrap().unwrap() else {
        panic!("expected BOOKMARK")
    };
    assert_eq!(Some(bookmark.metadata.resource_version), made.metadata.resource_version);
}

#[tokio::test]
async fn a_write_reaches_a_thousand_watchers() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watches = Vec::new();
    for _ in 0..1000 {
        watches.push(api.watch(&WatchParams::default(), &version).await.unwrap().boxed());
    }
    api.create(&post(), &config_map("a", &[])).await.unwrap();
    for watch in &mut watches {
        let event = soon(watch.next()).await;
        assert!(matches!(event.unwrap().unwrap(), WatchEvent::Added(_)));
    }
}

/// Names and the `turn` of what a watcher with a selector believes to exist, from a list and its events alone.
async fn believed(api: &Api<ConfigMap>, from: &str, until: &str, selector: &str) -> BTreeMap<String, String> {
    let turn =
        |map: &ConfigMap| map.data.as_ref().and_then(|data| data.get("turn")).cloned().unwrap_or_default();
    let name = |map: &ConfigMap| map.metadata.name.clone().unwrap();
    let mut state = BTreeMap::new();
    let mut watch = api.watch(&WatchParams::default().labels(selector), from).await.unwrap().boxed();
    let last: u64 = until.parse().unwrap();
    while let Some(event) = soon(watch.next()).await {
        let version = match event.unwrap() {
            WatchEvent::Added(map) => {
                assert!(state.insert(name(&map), turn(&map)).is_none(), "ADDED of a known object");
                map.metadata.resource_version
            }
            WatchEvent::Modified(map) => {
                assert!(state.insert(name(&map), turn(&map)).is_some(), "MODIFIED of an unknown object");
                map.metadata.resource_version
            }
            WatchEvent::Deleted(map) => {
                assert!(state.remove(&name(&map)).is_some(), "DELETED of an unknown object");
                map.metadata.resource_version
            }
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        };
        if version.is_some_and(|version| version.parse::<u64>().unwrap() >= last) {
            break;
        }
    }
    state
}

#[tokio::test]
async fn what_a_watcher_believes_is_what_a_list_shows() {
    for seed in 1_u64..=20 {
        let cluster = cluster().await;
        let api = maps(&cluster);
        let begin = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for turn in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = format!("m{}", (random >> 33) % 6);
            let team = if (random >> 40).is_multiple_of(2) { "red" } else { "blue" };
            if (random >> 50).is_multiple_of(4) {
                let deleted = api.delete(&name, &DeleteParams::default()).await;
                assert!(deleted.is_ok() || status(deleted.unwrap_err()).code == 404);
            } else {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"team": team}},
                    "data": {"turn": turn.to_string()},
                });
                api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
            }
        }
        // The end that every watcher sees, whatever its selector.
        for team in ["red", "blue"] {
            let end = json!({"metadata": {"name": format!("end-{team}"), "labels": {"team": team}}});
            let end: ConfigMap = api.create(&post(), &from(end)).await.unwrap();
            let until = end.metadata.resource_version.unwrap();
            let selector = format!("team={team}");
            let believed = believed(&api, &begin, &until, &selector).await;
            let listed: BTreeMap<String, String> = api
                .list(&ListParams::default().labels(&selector))
                .await
                .unwrap()
                .items
                .into_iter()
                .map(|map| {
                    (
                        map.metadata.name.unwrap(),
                        map.data.unwrap_or_default().remove("turn").unwrap_or_default(),
                    )
                })
                .collect();
            assert_eq!(believed, listed, "seed {seed}, {selector}");
        }
    }
}
