//! Query parameters.

use super::route::percent_decoded;
use crate::engine::{DeleteOptions, FieldValidation, ListOptions, Propagation, VersionMatch, WatchOptions};
use crate::error::{ApiError, Cause};
use crate::registry::Kind;
use crate::selector::{FieldSelector, LabelSelector};

/// The parameters of a request, in order.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let decoded = |text: &str| percent_decoded(&text.replace('+', " "));
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(key), decoded(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(one, _)| one == key)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Whether a parameter is true: `true`, `1`, or given without a value.
    pub(super) fn truth(&self, key: &str) -> bool {
        self.0.iter().any(|(one, value)| one == key && ["true", "1", ""].contains(&value.as_str()))
    }

    fn number(&self, key: &str) -> Result<Option<u64>, ApiError> {
        self.value(key)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "invalid value for parameter \"{key}\": \"{value}\" is not a number"
                    ))
                })
            })
            .transpose()
    }

    pub(super) fn timeout_seconds(&self) -> Result<Option<u64>, ApiError> {
        self.number("timeoutSeconds")
    }

    fn resource_version(&self) -> Result<Option<u64>, ApiError> {
        self.value("resourceVersion")
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "invalid resource version: resourceVersion: Invalid value: \"{value}\": strconv.ParseUint: \
                         parsing \"{value}\": invalid syntax"
                    ))
                })
            })
            .transpose()
    }

    pub(super) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.value("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let cause = Cause::unsupported("dryRun", &serde_json::json!([other]), &["All"]);
                Err(ApiError::invalid_options("CreateOptions.meta.k8s.io", &cause))
            }
        }
    }

    pub(super) fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        match self.value("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => {
                let accepted = ["", "Ignore", "Strict", "Warn"];
                let cause = Cause::unsupported("fieldValidation", &other.into(), &accepted);
                Err(ApiError::invalid_options("CreateOptions.meta.k8s.io", &cause))
            }
        }
    }

    fn selectors(&self, kind: &Kind, name: Option<&str>) -> Result<(LabelSelector, FieldSelector), ApiError> {
        let labels = LabelSelector::parse(self.value("labelSelector").unwrap_or_default())?;
        let mut text = self.value("fieldSelector").unwrap_or_default().to_owned();
        if let Some(name) = name {
            text = format!("metadata.name={name},{text}");
        }
        Ok((labels, FieldSelector::parse(&text, kind)?))
    }

    pub(super) fn list_options(
        &self,
        kind: &Kind,
        namespace: Option<String>,
    ) -> Result<ListOptions, ApiError> {
        let (labels, fields) = self.selectors(kind, None)?;
        let version_match = match self.value("resourceVersionMatch") {
            Some("Exact") => VersionMatch::Exact,
            _ => VersionMatch::NotOlderThan,
        };
        Ok(ListOptions {
            namespace,
            labels,
            fields,
            limit: usize::try_from(self.number("limit")?.unwrap_or(0)).unwrap_or(usize::MAX),
            token: self.value("continue").map(str::to_owned),
            resource_version: self.resource_version()?.unwrap_or(0),
            version_match,
        })
    }

    pub(super) fn watch_options(
        &self,
        kind: &Kind,
        namespace: Option<String>,
        name: Option<&str>,
    ) -> Result<WatchOptions, ApiError> {
        let (labels, fields) = self.selectors(kind, name)?;
        Ok(WatchOptions {
            namespace,
            labels,
            fields,
            resource_version: self.resource_version()?,
            bookmarks: self.truth("allowWatchBookmarks"),
            initial_events: self.truth("sendInitialEvents"),
        })
    }

    /// Delete options from the query, then from a body that is a `DeleteOptions` object.
    pub(super) fn delete_options(&self, body: &serde_json::Value) -> Result<DeleteOptions, ApiError> {
        let text = |field: &str| body.get(field).and_then(serde_json::Value::as_str);
        let orphan = body["orphanDependents"]
            .as_bool()
            .or_else(|| self.value("orphanDependents").map(|value| value == "true"));
        let propagation =
            match (text("propagationPolicy").or_else(|| self.value("propagationPolicy")), orphan) {
                (Some("Foreground"), _) => Propagation::Foreground,
                (Some("Orphan"), _) | (None, Some(true)) => Propagation::Orphan,
                (Some("Background"), _) | (None, _) => Propagation::Background,
                (Some(other), _) => {
                    let accepted = ["Foreground", "Background", "Orphan", "nil"];
                    let cause = Cause::unsupported("propagationPolicy", &other.into(), &accepted);
                    return Err(ApiError::invalid_options("DeleteOptions.meta.k8s.io", &cause));
                }
            };
        let precondition = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
        let dry_run = self.dry_run()? || body["dryRun"].as_array().is_some_and(|list| !list.is_empty());
        Ok(DeleteOptions {
            propagation,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run,
        })
    }
}
