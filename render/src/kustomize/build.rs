//! A build: layers from the bases up, each with its resources, generators, components, transformers and validators;
//! then hashes, references, variables, order.

use std::sync::Arc;

use serde_json::Value as Json;

use super::collection::Collection;
use super::config::{self, Config};
use super::definition::{self, Kustomization, Labels};
use super::error::KustomizeError;
use super::fields::FieldSpec;
use super::loader::{Folder, Tree};
use super::names::{self, Namespace};
use super::origin::{self, Origin};
use super::patch::{self, Patch};
use super::plugins;
use super::replacement::{self, Replacement, ReplacementSource};
use super::resource::Resource;
use super::schema::Schema;
use super::sort::SortOptions;
use super::steps::Step;
use super::variables::{self, Variables};
use crate::limits::Limits;

/// The version of kustomize that this engine does as.
const VERSION: &str = "kustomize-v5.8.1";

/// What a layer hands to the one above.
#[derive(Default)]
pub(crate) struct Accumulator {
    collection: Collection,
    config: Config,
    variables: Variables,
}

/// What holds for the whole build.
struct Builder<'t> {
    tree: &'t Tree<'t>,
    schema: Arc<Schema>,
    custom_schema: bool,
    traced: bool,
}

/// A kustomization and where it is.
pub(crate) struct Layer<'b, 't> {
    tree: &'b Tree<'t>,
    folder: Folder,
    name: &'static str,
    content: Kustomization,
    origin: Origin,
    schema: Arc<Schema>,
}

/// Builds the kustomization of a folder of the tree.
pub(crate) fn build(tree: &Tree<'_>, path: &str) -> Result<Vec<Json>, KustomizeError> {
    let mut builder = Builder { tree, schema: Schema::built_in(), custom_schema: false, traced: false };
    let folder = tree.root(path)?;
    let mut layer = builder.load(folder, Origin::default())?;
    builder.traced = !layer.content.metadata.is_empty();
    builder.learn(&mut layer)?;
    let mut all = Accumulator::default();
    builder.accumulate(&layer, &mut all)?;
    let schema = Arc::clone(&builder.schema);
    let Accumulator { mut collection, config, variables } = all;
    names::hash(&mut collection, &schema).map_err(|reason| layer.fail("generators", reason))?;
    names::mend_references(&mut collection, &config, &schema)
        .map_err(|reason| layer.fail("nameReference", reason))?;
    variables::resolve(&variables, &mut collection, &config).map_err(|reason| layer.fail("vars", reason))?;
    drop_local(&mut collection).map_err(|reason| layer.fail("resources", reason))?;
    let sort = layer.content.sort.clone();
    let sort = sort.unwrap_or(SortOptions { order: "legacy".to_owned(), legacy: None });
    sort.apply(&mut collection, &schema).map_err(|reason| layer.fail("sortOptions", reason))?;
    layer.finish(collection)
}

/// Drops what is only meant for tools.
fn drop_local(collection: &mut Collection) -> Result<(), String> {
    collection.drop_gone();
    collection.all.iter().try_for_each(|resource| Resource::check(&resource.node))?;
    collection.all.retain(|resource| {
        resource.annotation("config.kubernetes.io/local-config").is_none_or(|value| value == "false")
    });
    Ok(())
}

impl<'t> Builder<'t> {
    fn load(&self, folder: Folder, origin: Origin) -> Result<Layer<'t, 't>, KustomizeError> {
        let (name, text) = self.tree.kustomization(&folder)?;
        let file = origin::shown_path(&folder.path, name);
        let refuse = |reason: String| KustomizeError::Field { file: file.clone(), reason };
        let json = crate::yaml::read::read(text, self.tree.limits)
            .map_err(|error| refuse(format!("invalid Kustomization: {error}")))?;
        if json.is_null() {
            return Err(refuse("the kustomization is empty".to_owned()));
        }
        let content = definition::kustomization(&json).map_err(refuse)?;
        Ok(Layer { tree: self.tree, folder, name, content, origin, schema: Arc::clone(&self.schema) })
    }

    /// Takes the schema that a kustomization brings; the first one stays.
    fn learn(&mut self, layer: &mut Layer<'_, '_>) -> Result<(), KustomizeError> {
        let given =
            |name: &str| layer.content.openapi.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let (path, version) = (given("path"), given("version"));
        if let Some(path) = path {
            let json = layer.yaml(path)?;
            if !self.custom_schema {
                if version.is_some() {
                    let reason = "\"version\" and \"path\" cannot be used at the same time".to_owned();
                    return Err(layer.refuse("openapi", reason));
                }
                let schema = Schema::custom(&json).map_err(|reason| layer.refuse("openapi", reason))?;
                (self.schema, self.custom_schema) = (Arc::new(schema), true);
            }
        } else if let Some(version) = version.filter(|version| !version.is_empty() && !self.custom_schema)
            && version != "v1.21.2"
            && version != "v1_21_2"
        {
            let reason = format!("the specified OpenAPI version \"{version}\" is not built in; v1.21.2 is");
            return Err(layer.refuse("openapi", reason));
        }
        layer.schema = Arc::clone(&self.schema);
        Ok(())
    }

    /// Adds what a layer makes to what is there.
    fn accumulate(&mut self, layer: &Layer<'t, 't>, all: &mut Accumulator) -> Result<(), KustomizeError> {
        self.resources(layer, &layer.content.resources, all)?;
        let mut own = Config::built_in().clone();
        for path in &layer.content.configurations {
            let json = layer.yaml(path)?;
            let read = definition::configuration(&json);
            let read = read.map_err(|reason| layer.refuse("configurations", format!("{path}: {reason}")))?;
            own.merge(&read).map_err(|reason| layer.fail("configurations", format!("{path}: {reason}")))?;
        }
        all.config.merge(&own).map_err(|reason| layer.fail("configurations", reason))?;
        for path in &layer.content.crds {
            let json = layer.yaml(path)?;
            let read = definition::crds(&json).and_then(|read| all.config.merge(&read));
            read.map_err(|reason| layer.refuse("crds", format!("{path}: {reason}")))?;
        }
        self.generate(layer, all)?;
        for path in &layer.content.components {
            let folder = self.tree.enter(&layer.folder, path, &layer.file())?;
            let inner = self.enter(layer, folder, path, true)?;
            self.accumulate(&inner, all)?;
        }
        self.transform(layer, all)?;
        self.validate(layer, all)?;
        variables::declare(&mut all.variables, &layer.content.variables, &mut all.collection, &self.schema)
            .map_err(|reason| layer.fail("vars", reason))
    }

    fn enter(
        &mut self,
        layer: &Layer<'t, 't>,
        folder: Folder,
        path: &str,
        component: bool,
    ) -> Result<Layer<'t, 't>, KustomizeError> {
        let origin = if self.traced { layer.origin.at(path) } else { Origin::default() };
        let mut inner = self.load(folder, origin)?;
        self.learn(&mut inner)?;
        if inner.content.is_component != component {
            let (wanted, got) =
                if component { ("Component", "Kustomization") } else { ("Kustomization", "Component") };
            let reason = format!("\"{path}\" is a {got}, expected kind '{wanted}'");
            return Err(layer.refuse(if component { "components" } else { "resources" }, reason));
        }
        Ok(inner)
    }

    /// Files and folders.
    fn resources(
        &mut self,
        layer: &Layer<'t, 't>,
        paths: &[String],
        all: &mut Accumulator,
    ) -> Result<(), KustomizeError> {
        for path in paths {
            match self.tree.load(&layer.folder, path, &layer.file()) {
                Ok(_) => self.file(layer, path, all)?,
                Err(from_file) => {
                    let folder = match self.tree.enter(&layer.folder, path, &layer.file()) {
                        Err(KustomizeError::NotFound { .. }) => return Err(from_file),
                        other => other?,
                    };
                    let inner = self.enter(layer, folder, path, false)?;
                    let mut made = Accumulator::default();
                    self.accumulate(&inner, &mut made)?;
                    let fail = |reason: String| layer.fail("resources", format!("{path}: {reason}"));
                    all.collection.append_all(made.collection.all, &self.schema).map_err(fail)?;
                    all.config.merge(&made.config).map_err(fail)?;
                    for variable in made.variables.values() {
                        variables::add(&mut all.variables, variable).map_err(fail)?;
                    }
                }
            }
            layer.check_count(&all.collection)?;
        }
        Ok(())
    }

    fn file(&self, layer: &Layer<'t, 't>, path: &str, all: &mut Accumulator) -> Result<(), KustomizeError> {
        let text = self.tree.text(&layer.folder, path, &layer.file())?;
        let file = origin::shown_path(&layer.folder.path, path);
        let read = patch::objects(text, self.tree.limits);
        let mut found = read.map_err(|error| KustomizeError::Yaml {
            file: file.clone(),
            document: error.document,
            reason: error.reason,
        })?;
        if self.traced {
            let origin = layer.origin.at(path).text();
            for resource in &mut found {
                resource.set_annotation(origin::ORIGIN, Some(origin.clone()));
            }
        }
        let added = all.collection.append_all(found, &self.schema);
        added.map_err(|reason| layer.fail("resources", format!("{path}: {reason}")))
    }

    fn generate(&mut self, layer: &Layer<'t, 't>, all: &mut Accumulator) -> Result<(), KustomizeError> {
        let content = &layer.content;
        let file = layer.file();
        let mut made = Vec::new();
        for (is_secret, generators) in [(false, &content.config_maps), (true, &content.secrets)] {
            let kind = if is_secret { "SecretGenerator" } else { "ConfigMapGenerator" };
            for generator in generators {
                let origin = self.traced.then(|| layer.origin.built_in(layer.name, kind));
                made.push((generator.make(is_secret, self.tree, &layer.folder, &file)?, origin));
            }
        }
        if content.charts {
            return Err(layer.charts());
        }
        for configured in self.configurations(layer, &content.generators)? {
            let (is_secret, generator) = plugins::generator(layer, &configured)?;
            let origin = Origin::of_configuration(&configured).filter(|_| self.traced);
            made.push((generator.make(is_secret, self.tree, &layer.folder, &file)?, origin));
        }
        for (mut resource, origin) in made {
            if let Some(origin) = &origin {
                origin::mark_generated(&mut resource, origin);
            }
            let absorbed = all.collection.absorb(resource, &self.schema);
            absorbed.map_err(|reason| layer.fail("generators", reason))?;
        }
        layer.check_count(&all.collection)
    }

    /// The objects of `generators`, `transformers` or `validators`: inline, in files, in folders.
    fn configurations(
        &mut self,
        layer: &Layer<'t, 't>,
        entries: &[String],
    ) -> Result<Vec<Resource>, KustomizeError> {
        let mut found = Accumulator::default();
        let mut paths = Vec::new();
        for entry in entries {
            let Ok(mut objects) = patch::objects(entry, self.tree.limits) else {
                paths.push(entry.clone());
                continue;
            };
            if self.traced {
                for object in &mut objects {
                    object.set_annotation(origin::ORIGIN, Some(layer.origin.at(layer.name).text()));
                }
            }
            let added = found.collection.append_all(objects, &self.schema);
            added.map_err(|reason| layer.fail("transformers", reason))?;
        }
        self.resources(layer, &paths, &mut found)?;
        Ok(found.collection.all)
    }

    fn transform(&mut self, layer: &Layer<'t, 't>, all: &mut Accumulator) -> Result<(), KustomizeError> {
        let mut steps: Vec<(Step, Option<Origin>)> = Vec::new();
        for step in layer.steps(&all.config)? {
            let origin = self.traced.then(|| layer.origin.built_in(layer.name, step.kind()));
            steps.push((step, origin));
        }
        for configured in self.configurations(layer, &layer.content.transformers)? {
            let origin = Origin::of_configuration(&configured).filter(|_| self.traced);
            steps.push((plugins::transformer(layer, &configured)?, origin));
        }
        for (step, origin) in steps {
            let done = step.apply(&mut all.collection, &self.schema);
            done.map_err(|reason| layer.fail(step.field(), reason))?;
            if let Some(origin) = origin {
                origin::mark_transformed(&mut all.collection, &origin);
            }
            all.collection.drop_gone();
        }
        Ok(())
    }

    fn validate(&mut self, layer: &Layer<'t, 't>, all: &mut Accumulator) -> Result<(), KustomizeError> {
        for configured in self.configurations(layer, &layer.content.validators)? {
            let step = plugins::transformer(layer, &configured)?;
            let before = all.collection.clone();
            step.apply(&mut all.collection, &self.schema)
                .map_err(|reason| layer.fail("validators", reason))?;
            if before != all.collection {
                let reason = "validator shouldn't modify the resource map".to_owned();
                return Err(layer.fail("validators", format!("{}: {reason}", configured.name())));
            }
        }
        Ok(())
    }
}

impl Layer<'_, '_> {
    /// The kustomization's path from the root of the tree.
    pub(crate) fn file(&self) -> String {
        origin::shown_path(&self.folder.path, self.name)
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.tree.limits
    }

    /// Name of the folder.
    pub(crate) fn folder_name(&self) -> String {
        self.folder.path.rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn fail(&self, field: &str, reason: String) -> KustomizeError {
        KustomizeError::Apply { file: self.file(), field: field.to_owned(), reason }
    }

    pub(crate) fn refuse(&self, field: &str, reason: String) -> KustomizeError {
        KustomizeError::Field { file: self.file(), reason: format!("{field}: {reason}") }
    }

    pub(crate) fn charts(&self) -> KustomizeError {
        KustomizeError::Unsupported {
            file: self.file(),
            what: "inflating Helm charts".to_owned(),
            cure: "deploy the chart as a service of its own",
        }
    }

    fn check_count(&self, collection: &Collection) -> Result<(), KustomizeError> {
        let maximum = self.tree.limits.chart_files;
        if collection.all.len() > maximum {
            return Err(KustomizeError::Limit {
                at: self.file(),
                limit: "chart_files",
                maximum: maximum as u64,
            });
        }
        Ok(())
    }

    /// A YAML or JSON file.
    pub(crate) fn yaml(&self, path: &str) -> Result<Json, KustomizeError> {
        let text = self.tree.text(&self.folder, path, &self.file())?;
        crate::yaml::read::read(text, self.tree.limits).map_err(|error| KustomizeError::Yaml {
            file: origin::shown_path(&self.folder.path, path),
            document: 1,
            reason: error.to_string(),
        })
    }

    /// The transformers that the fields ask for, in kustomize's order.
    fn steps(&self, config: &Config) -> Result<Vec<Step>, KustomizeError> {
        let content = &self.content;
        let mut steps = Vec::new();
        if !content.patches_strategic.is_empty() {
            steps.push(Step::Strategic(self.strategic_patches(&content.patches_strategic)?));
        }
        for patch in &content.patches {
            steps.push(self.patch_step(patch, "patches")?);
        }
        if !content.namespace.is_empty() {
            let namespace = Namespace { name: content.namespace.clone(), ..Namespace::default() };
            steps.push(Step::Namespace { namespace, specs: config.namespace.clone() });
        }
        for (text, is_prefix, specs) in [
            (&content.name_prefix, true, &config.name_prefix),
            (&content.name_suffix, false, &config.name_suffix),
        ] {
            if !text.is_empty() {
                steps.push(Step::Affix { text: text.clone(), is_prefix, specs: specs.clone() });
            }
        }
        for labels in &content.labels {
            let specs = label_specs(labels, config).map_err(|reason| self.fail("labels", reason))?;
            steps.push(Step::Labels { pairs: labels.pairs.clone(), specs });
        }
        if !content.labels.is_empty() || !content.common_labels.is_empty() {
            steps.push(Step::Labels {
                pairs: content.common_labels.clone(),
                specs: config.common_labels.clone(),
            });
        }
        if !content.common_annotations.is_empty() {
            let specs = config.common_annotations.clone();
            steps.push(Step::Annotations { pairs: content.common_annotations.clone(), specs });
        }
        for patch in &content.patches_json {
            steps.push(self.json_step(patch, "patchesJson6902")?);
        }
        for (name, count) in &content.replicas {
            steps.push(Step::Replicas { name: name.clone(), count: *count, specs: config.replicas.clone() });
        }
        for image in &content.images {
            steps.push(Step::Image { image: image.clone(), specs: config.images.clone() });
        }
        if !content.replacements.is_empty() {
            steps.push(Step::Replacements(self.replacements(&content.replacements)?));
        }
        Ok(steps)
    }

    /// The patches that paths, or texts in their place, hold.
    pub(crate) fn strategic_patches(&self, entries: &[String]) -> Result<Vec<Resource>, KustomizeError> {
        let mut all = Vec::new();
        for entry in entries {
            if let Ok(inline) = patch::objects(entry, self.tree.limits) {
                all.extend(inline);
                continue;
            }
            let text = self.tree.text(&self.folder, entry, &self.file())?;
            all.extend(patch::objects(text, self.tree.limits).map_err(|error| KustomizeError::Yaml {
                file: origin::shown_path(&self.folder.path, entry),
                document: error.document,
                reason: error.reason,
            })?);
        }
        if all.is_empty() && !entries.is_empty() {
            return Err(self.refuse("patchesStrategicMerge", "the patch appears to be empty".to_owned()));
        }
        Ok(all)
    }

    fn patch_text(&self, patch: &Patch, field: &str) -> Result<String, KustomizeError> {
        match (patch.text.trim(), patch.path.as_str()) {
            ("", "") => Err(self.refuse(field, "must specify one of patch and path".to_owned())),
            ("", path) => Ok(self.tree.text(&self.folder, path, &self.file())?.to_owned()),
            (text, "") => Ok(text.to_owned()),
            _ => Err(self.refuse(field, "patch and path can't be set at the same time".to_owned())),
        }
    }

    pub(crate) fn patch_step(&self, patch: &Patch, field: &str) -> Result<Step, KustomizeError> {
        let text = self.patch_text(patch, field)?;
        let place = if patch.path.is_empty() { "inline patch" } else { &patch.path };
        let content = patch::content(patch, &text, self.tree.limits)
            .map_err(|reason| self.refuse(field, format!("{place}: {reason}")))?;
        Ok(Step::Patch { content, target: patch.target.clone() })
    }

    pub(crate) fn json_step(&self, patch: &Patch, field: &str) -> Result<Step, KustomizeError> {
        let target = patch.target.clone().filter(|target| !target.name.is_empty());
        let target = target.ok_or_else(|| self.refuse(field, "must specify the target name".to_owned()))?;
        let text = self.patch_text(patch, field)?;
        let operations = patch::operations(&text, self.tree.limits).and_then(|found| {
            if found.is_empty() { Err("the patch appears to be empty".to_owned()) } else { Ok(found) }
        });
        let operations = operations.map_err(|reason| self.refuse(field, reason))?;
        Ok(Step::Json { operations, target })
    }

    pub(crate) fn replacements(
        &self,
        sources: &[ReplacementSource],
    ) -> Result<Vec<Replacement>, KustomizeError> {
        let mut all = Vec::new();
        for source in sources {
            match source {
                ReplacementSource::Inline(replacement) => all.push((**replacement).clone()),
                ReplacementSource::Path(path) => {
                    let json = self.yaml(path)?;
                    let read = replacement::file(&json);
                    all.extend(
                        read.map_err(|reason| self.refuse("replacements", format!("{path}: {reason}")))?,
                    );
                }
            }
        }
        Ok(all)
    }

    /// Strips what only the build needed, and makes JSON of the objects.
    fn finish(&self, collection: Collection) -> Result<Vec<Json>, KustomizeError> {
        let wants = |option: &str| self.content.metadata.iter().any(|name| name == option);
        let mut out = Vec::with_capacity(collection.all.len());
        for mut resource in collection.all {
            if wants("managedByLabel") {
                resource
                    .set_label("app.kubernetes.io/managed-by", VERSION)
                    .map_err(|reason| self.fail("buildMetadata", reason))?;
            }
            resource.strip_internal_annotations();
            if !wants("originAnnotations") {
                resource.set_annotation(origin::ORIGIN, None);
            }
            if !wants("transformerAnnotations") {
                resource.set_annotation(origin::TRANSFORMATIONS, None);
            }
            let label = format!("{} \"{}\"", resource.kind(), resource.name());
            out.push(
                resource
                    .node
                    .to_json()
                    .map_err(|reason| self.fail("resources", format!("{label}: {reason}")))?,
            );
        }
        Ok(out)
    }
}

fn label_specs(labels: &Labels, config: &Config) -> Result<Vec<FieldSpec>, String> {
    let mut specs = labels.fields.clone();
    config::merge_all(&mut specs, &config.labels)?;
    if labels.selectors {
        config::merge_all(&mut specs, &config.common_labels)?;
        return Ok(specs);
    }
    if labels.templates {
        config::merge_all(&mut specs, &config.template_labels)?;
    }
    let own = FieldSpec { path: "metadata/labels".to_owned(), create: true, ..FieldSpec::default() };
    config::merge_one(&mut specs, &own)?;
    Ok(specs)
}
