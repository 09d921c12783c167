//! From kind to resource: plural name and scope, as the API server serves it.
//!
//! Fetched per group version when first needed and kept; asked again when a kind is missing, because a
//! definition may have come since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::{Api, ApiError};
use crate::object::Resource;

type Versions = BTreeMap<(String, String), Vec<Arc<Resource>>>;

/// What the API server serves, as far as it was asked.
#[derive(Default)]
pub(crate) struct Discovery {
    versions: Mutex<Versions>,
}

impl Discovery {
    /// The resource, if it is known.
    pub(crate) fn known(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = versions.get(&(group.to_owned(), version.to_owned()))?;
        resources.iter().find(|resource| resource.kind == kind).cloned()
    }

    /// The resource, asking when it is not known; `None` if the API server does not serve it.
    pub(crate) async fn resolve(
        &self,
        api: &Api,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Arc<Resource>>, ApiError> {
        if let Some(resource) = self.known(group, version, kind) {
            return Ok(Some(resource));
        }
        let fetched = api.resources(group, version).await?.unwrap_or_default();
        let key = (group.to_owned(), version.to_owned());
        let fetched = fetched.into_iter().map(Arc::new).collect();
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(key, fetched);
        Ok(self.known(group, version, kind))
    }

    /// Forgets a group version whose answer proved wrong.
    pub(crate) fn forget(&self, resource: &Resource) {
        let key = (resource.group.clone(), resource.version.clone());
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}
