//! The objects of a layer in the order they came, each name once.

use super::identity::Id;
use super::resource::{Behavior, Resource};
use super::schema::Schema;
use super::selector::Selector;

/// Objects in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Collection {
    pub all: Vec<Resource>,
}

impl Collection {
    /// Adds an object.
    ///
    /// # Errors
    /// When there is one of its name.
    pub(crate) fn append(&mut self, resource: Resource, schema: &Schema) -> Result<(), String> {
        let id = resource.id(schema);
        if self.all.iter().any(|known| may_be(known, &id) && known.id(schema).is(&id)) {
            return Err(format!("may not add resource with an already registered id: {id}"));
        }
        self.all.push(resource);
        Ok(())
    }

    pub(crate) fn append_all(&mut self, other: Vec<Resource>, schema: &Schema) -> Result<(), String> {
        other.into_iter().try_for_each(|resource| self.append(resource, schema))
    }

    /// Positions of what has, or had, a name that fits.
    pub(crate) fn by_any_id(&self, schema: &Schema, fits: impl Fn(&Id) -> bool) -> Vec<usize> {
        let matches = |resource: &Resource| {
            !resource.is_gone() && (resource.former_ids().any(|id| fits(&id)) || fits(&resource.id(schema)))
        };
        self.all.iter().enumerate().filter(|(_, resource)| matches(resource)).map(|(at, _)| at).collect()
    }

    /// Position of the one object that has, or had, this name.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub(crate) fn only(&self, id: &Id, schema: &Schema) -> Result<usize, String> {
        let found = self.by_any_id(schema, |known| id.is(known));
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(format!("no matches for Id {id}; failed to find unique target for patch {id}")),
            _ => Err(format!("multiple matches for Id {id}; failed to find unique target for patch {id}")),
        }
    }

    /// Adds a generated object: new, over or into the one of its name.
    ///
    /// # Errors
    /// When its behavior does not fit what is there.
    pub(crate) fn absorb(&mut self, mut resource: Resource, schema: &Schema) -> Result<(), String> {
        let id = resource.id(schema);
        let found = self.by_any_id(schema, |known| id.is(known));
        match (found.as_slice(), resource.behavior) {
            ([], Behavior::Merge | Behavior::Replace) => {
                Err(format!("id {id} does not exist; cannot merge or replace"))
            }
            ([], Behavior::Create | Behavior::Unspecified) => self.append(resource, schema),
            ([at], Behavior::Replace) => {
                resource.inherit(&self.all[*at]);
                self.all[*at] = resource;
                Ok(())
            }
            ([at], Behavior::Merge) => {
                let origin = self.all[*at].annotation(super::origin::ORIGIN).map(str::to_owned);
                resource.inherit(&self.all[*at]);
                resource.absorb_data(&self.all[*at]);
                if origin.is_some() {
                    resource.set_annotation(super::origin::ORIGIN, origin);
                }
                self.all[*at] = resource;
                Ok(())
            }
            ([_], behavior) => Err(format!(
                "id {id} exists; can not use behavior: '{}', behavior must be merge or replace",
                behavior.name()
            )),
            (_, _) => Err(format!("found multiple objects that could accept merge of {id}")),
        }
    }

    /// Positions of what the selector selects.
    ///
    /// # Errors
    /// When the selector is malformed.
    pub(crate) fn select(&self, selector: &Selector, schema: &Schema) -> Result<Vec<usize>, String> {
        let compiled = selector.compile()?;
        let matches = |resource: &Resource| {
            let (current, original) = (resource.id(schema), resource.original_id(schema));
            (compiled.matches_namespace(original.effective_namespace())
                || compiled.matches_namespace(current.effective_namespace()))
                && (compiled.matches_name(&original.name) || compiled.matches_name(&current.name))
                && compiled.matches_gvk(&current.gvk)
                && compiled.matches_labels(resource)
        };
        Ok(self.all.iter().enumerate().filter(|(_, one)| matches(one)).map(|(at, _)| at).collect())
    }

    /// Drops what was deleted.
    pub(crate) fn drop_gone(&mut self) {
        self.all.retain(|resource| !resource.is_gone());
    }
}

/// A cheap first look before ids are built.
fn may_be(resource: &Resource, id: &Id) -> bool {
    resource.name() == id.name && resource.kind() == id.gvk.kind
}
