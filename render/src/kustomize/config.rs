//! Which fields the transformers edit: kustomize's own table, and what `configurations` and `crds` add.

use std::sync::OnceLock;

use super::fields::FieldSpec;
use super::identity::Gvk;

/// Fields of one purpose.
pub(crate) type Specs = Vec<FieldSpec>;

/// A kind, and the fields of others that hold its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameReference {
    pub gvk: Gvk,
    pub fields: Specs,
}

/// The fields of every purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub name_prefix: Specs,
    pub name_suffix: Specs,
    pub namespace: Specs,
    pub common_labels: Specs,
    pub labels: Specs,
    pub template_labels: Specs,
    pub common_annotations: Specs,
    pub name_references: Vec<NameReference>,
    pub variable_references: Specs,
    pub images: Specs,
    pub replicas: Specs,
}

/// Adds what is not there yet.
///
/// # Errors
/// When a field is there and differs in `create`.
pub(crate) fn merge_one(specs: &mut Specs, one: &FieldSpec) -> Result<(), String> {
    let known = specs.iter().find(|known| known.gvk.is_selected(&one.gvk) && known.path == one.path);
    match known {
        Some(known) if known.create != one.create => {
            Err(format!("conflicting fieldspecs: \"create\" of \"{}\" is given as true and false", one.path))
        }
        Some(_) => Ok(()),
        None => {
            specs.push(one.clone());
            Ok(())
        }
    }
}

/// Like [`merge_one`] for all.
pub(crate) fn merge_all(specs: &mut Specs, more: &[FieldSpec]) -> Result<(), String> {
    more.iter().try_for_each(|one| merge_one(specs, one))
}

impl Config {
    /// kustomize's own table. `field_specs.txt` holds it, a line `group version kind create path` each.
    pub(crate) fn built_in() -> &'static Self {
        static BUILT_IN: OnceLock<Config> = OnceLock::new();
        BUILT_IN.get_or_init(|| {
            let mut config = Self::default();
            let mut section = String::new();
            for line in include_str!("field_specs.txt").lines() {
                if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    name.clone_into(&mut section);
                    if let Some(kind) = name.strip_prefix("nameReference ") {
                        config.name_references.push(NameReference { gvk: gvk_of(kind), fields: Vec::new() });
                    }
                } else if let Some(spec) = spec_of(line) {
                    config.section(&section).push(spec);
                }
            }
            config.sort();
            config
        })
    }

    fn section(&mut self, name: &str) -> &mut Specs {
        match name {
            "namePrefix" => &mut self.name_prefix,
            "nameSuffix" => &mut self.name_suffix,
            "namespace" => &mut self.namespace,
            "commonLabels" => &mut self.common_labels,
            "templateLabels" => &mut self.template_labels,
            "commonAnnotations" => &mut self.common_annotations,
            "varReference" => &mut self.variable_references,
            "images" => &mut self.images,
            "replicas" => &mut self.replicas,
            _ => match self.name_references.last_mut() {
                Some(last) => &mut last.fields,
                None => &mut self.labels,
            },
        }
    }

    /// The lists with those of another.
    fn pairs<'c>(&'c mut self, other: &'c Self) -> [(&'c mut Specs, &'c Specs); 10] {
        [
            (&mut self.name_prefix, &other.name_prefix),
            (&mut self.name_suffix, &other.name_suffix),
            (&mut self.namespace, &other.namespace),
            (&mut self.common_labels, &other.common_labels),
            (&mut self.labels, &other.labels),
            (&mut self.template_labels, &other.template_labels),
            (&mut self.common_annotations, &other.common_annotations),
            (&mut self.variable_references, &other.variable_references),
            (&mut self.images, &other.images),
            (&mut self.replicas, &other.replicas),
        ]
    }

    /// Adds what another one has.
    ///
    /// # Errors
    /// When they contradict each other.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<(), String> {
        for (mine, theirs) in self.pairs(other) {
            merge_all(mine, theirs)?;
        }
        for reference in &other.name_references {
            match self.name_references.iter_mut().find(|known| known.gvk == reference.gvk) {
                Some(known) => merge_all(&mut known.fields, &reference.fields)?,
                None => self.name_references.push(reference.clone()),
            }
        }
        self.sort();
        Ok(())
    }

    /// Brings every list into kustomize's order.
    pub(crate) fn sort(&mut self) {
        let nothing = Self::default();
        for (mine, _) in self.pairs(&nothing) {
            mine.sort_by_cached_key(|spec| spec.gvk.order());
        }
        self.name_references.sort_by_cached_key(|reference| reference.gvk.order());
    }
}

fn gvk_of(text: &str) -> Gvk {
    let mut words = text.split(' ').map(|word| if word == "-" { String::new() } else { word.to_owned() });
    let mut next = || words.next().unwrap_or_default();
    Gvk { group: next(), version: next(), kind: next() }
}

fn spec_of(line: &str) -> Option<FieldSpec> {
    let mut words = line.splitn(5, ' ').skip(3);
    let (create, path) = (words.next()? == "create", words.next()?.to_owned());
    Some(FieldSpec { gvk: gvk_of(line), path, create })
}
