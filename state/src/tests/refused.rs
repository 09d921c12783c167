//! What the agent may not do: told of the object that it concerns, the rest goes on, and it heals when the right is given.

use protocol::report::{ObjectHealth, UnitState};

use super::{MAPS, Planned, World, config_map, deployment};

#[tokio::test]
async fn a_right_that_lacks_on_one_object_harms_that_one_and_heals() {
    for method in ["GET", "PATCH"] {
        let world = World::new().await;
        *world.wire.forbidden.lock().unwrap() = format!("{method} {MAPS}/locked");
        let mut running = world.start().await;
        let units = vec![
            Planned::new("mixed", vec![config_map("locked", "1"), config_map("open", "1")]),
            Planned::new("other", vec![config_map("other", "1")]),
        ];
        running.offer(world.plan(units)).await;
        running.until_state("mixed", UnitState::Failed).await;
        let message = running.message("mixed");
        assert!(
            message.starts_with("ConfigMap shop/locked: ") && message.contains("is forbidden"),
            "{message}"
        );
        running.until_state("other", UnitState::Deployed).await;
        world.comes(&format!("{MAPS}/open")).await;
        world.wire.forbidden.lock().unwrap().clear();
        running.until_state("mixed", UnitState::Deployed).await;
        world.comes(&format!("{MAPS}/locked")).await;
    }
}

#[tokio::test]
async fn what_may_not_be_watched_is_not_called_deployed() {
    for forbidden in ["GET /apis/apps/v1/deployments?", "GET /apis/apps/v1/deployments?watch=true"] {
        let world = World::new().await;
        *world.wire.forbidden.lock().unwrap() = forbidden.to_owned();
        let mut running = world.start().await;
        let units = vec![
            Planned::new("unseen", vec![deployment("web", 1)]),
            Planned::new("seen", vec![config_map("seen", "1")]),
        ];
        running.offer(world.plan(units)).await;
        running
            .until("it says that it cannot be watched", |running| {
                running.message("unseen").starts_with("Deployment.apps shop/web: cannot be watched: ")
            })
            .await;
        assert_eq!(running.state("unseen"), Some(UnitState::Failed));
        assert_eq!(running.units["unseen"].objects[0].health, ObjectHealth::Refused);
        running.until_state("seen", UnitState::Deployed).await;
        world.wire.forbidden.lock().unwrap().clear();
        running.until_state("unseen", UnitState::Deployed).await;
    }
}
