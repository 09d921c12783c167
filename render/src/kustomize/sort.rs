//! The order of what comes out.

use super::collection::Collection;
use super::identity::{FIRST, LAST, rank};
use super::input::Fields;
use super::schema::Schema;

/// `sortOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortOptions {
    pub order: String,
    /// Kinds first and last.
    pub legacy: Option<(Vec<String>, Vec<String>)>,
}

impl SortOptions {
    pub(crate) const FIELDS: &[&str] = &["order", "legacySortOptions"];

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        let legacy = fields.inner("legacySortOptions", &["orderFirst", "orderLast"], |one| {
            Ok((one.texts("orderFirst")?, one.texts("orderLast")?))
        })?;
        Ok(Self { order: fields.text("order")?, legacy })
    }

    /// Sorts.
    ///
    /// # Errors
    /// When the order is not known.
    pub(crate) fn apply(&self, collection: &mut Collection, schema: &Schema) -> Result<(), String> {
        match (self.order.as_str(), &self.legacy) {
            ("fifo", None) => Ok(()),
            ("fifo", Some(_)) => {
                Err("\"legacySortOptions\" is set but the selected sort order is \"fifo\", not \"legacy\""
                    .to_owned())
            }
            ("legacy", legacy) => {
                let listed = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
                let (first, last) = legacy.clone().unwrap_or_else(|| (listed(&FIRST), listed(&LAST)));
                sort(collection, schema, &first, &last);
                Ok(())
            }
            (other, _) => Err(format!("\"order\" is \"{other}\", it must be one of [fifo, legacy]")),
        }
    }
}

fn sort(collection: &mut Collection, schema: &Schema, first: &[String], last: &[String]) {
    collection.all.sort_by_cached_key(|resource| {
        let id = resource.id(schema);
        let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let names = format!("{}|{}|{}", id.gvk, or(&id.namespace, "~X"), or(&id.name, "~N"));
        (rank(&id.gvk.kind, first, last), id.gvk.sort_text(), names)
    });
}
