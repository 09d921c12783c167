//! Orders about all services of an owner, as annotations of a ClusterDeployment or MultiClusterService: until when they
//! may be begun, whether they wait for maintenance windows, and that their test hooks are to run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use protocol::UnixMillis;

/// Annotation: RFC 3339 time after which a change is not begun any more, also on an edge that comes back later.
pub const NOT_AFTER: &str = "skein.dev/not-after";
/// Annotation: `true` lets a change pass maintenance windows of clusters; a hold of their owners it respects.
pub const EMERGENCY: &str = "skein.dev/emergency";
/// Annotation: runs the test hooks of deployed charts, once for each new value. On a ServiceSet it is for that target
/// only and goes before its owner's; a value that begins with `NAMESPACE/NAME ` is for the service of that name only.
pub const TEST: &str = api::names::annotation::TEST;

/// Longest name of a test order.
const TEST_BYTES_MAX: usize = 128;

/// What annotations say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// In milliseconds since 1970.
    pub not_after: Option<UnixMillis>,
    /// Whether it is urgent.
    pub emergency: bool,
    /// The name of the order for tests.
    pub test: Option<String>,
}

impl Orders {
    /// Reads annotations.
    ///
    /// # Errors
    /// Which one is wrong, and what is accepted.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let not_after = annotations.get(NOT_AFTER).map(|text| {
            let time = text.trim().parse::<Timestamp>().map_err(|error| {
                format!("annotation {NOT_AFTER} is \"{text}\": {error}; accepted is a time such as 2026-12-24T18:00:00Z")
            })?;
            Ok::<_, String>(u64::try_from(time.as_millisecond()).unwrap_or(0))
        });
        let emergency = match annotations.get(EMERGENCY).map(String::as_str) {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(format!("annotation {EMERGENCY} is \"{other}\"; accepted are true and false"));
            }
        };
        let test = annotations.get(TEST).filter(|order| !order.is_empty()).cloned();
        if let Some(order) = test.as_ref().filter(|order| order.len() > TEST_BYTES_MAX) {
            let bytes = order.len();
            return Err(format!(
                "annotation {TEST} has {bytes} bytes, at most {TEST_BYTES_MAX} are accepted"
            ));
        }
        Ok(Self { not_after: not_after.transpose()?, emergency, test })
    }

    /// With the order for tests of the set itself, if it has one that can be read.
    pub fn tested(self, annotations: &BTreeMap<String, String>) -> Self {
        let own = annotations.get(TEST).filter(|order| (1..=TEST_BYTES_MAX).contains(&order.len()));
        Self { test: own.cloned().or(self.test), ..self }
    }

    /// What of it concerns the service of this namespace and name.
    pub fn of_service(&self, namespace: &str, name: &str) -> Self {
        let meant = |order: &&String| match order.split_once(' ').map(|(first, _)| first) {
            Some(first) if first.contains('/') => first == format!("{namespace}/{name}"),
            Some(_) | None => true,
        };
        Self { test: self.test.as_ref().filter(meant).cloned(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Result<Orders, String> {
        Orders::of(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn an_order_for_tests_may_be_for_one_service_of_one_set() {
        let annotations = |order: &str| BTreeMap::from([(TEST.to_owned(), order.to_owned())]);
        let orders = of(TEST, "all of them").unwrap();
        assert_eq!(orders.of_service("shop", "web").test.as_deref(), Some("all of them"));
        let orders = orders.tested(&annotations("shop/web 1"));
        assert_eq!(orders.of_service("shop", "web").test.as_deref(), Some("shop/web 1"));
        assert_eq!(orders.of_service("shop", "db").test, None);
        assert_eq!(orders.clone().tested(&annotations("")).test, orders.test);
    }

    #[test]
    fn orders_are_read_and_what_is_wrong_is_named() {
        assert_eq!(Orders::of(&BTreeMap::new()), Ok(Orders::default()));
        assert_eq!(of(NOT_AFTER, "1970-01-01T01:00:01+01:00").unwrap().not_after, Some(1_000));
        assert!(of(EMERGENCY, "true").unwrap().emergency);
        assert_eq!(of(TEST, "1").unwrap().test.as_deref(), Some("1"));
        for (key, value, part) in [
            (NOT_AFTER, "tomorrow", "skein.dev/not-after is \"tomorrow\""),
            (EMERGENCY, "very", "accepted are true and false"),
            (TEST, &"x".repeat(200), "at most 128"),
        ] {
            let error = of(key, value).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
