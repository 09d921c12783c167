//! What `helm template` prints of a release: the templates' own text, document by document.

use crate::chart::pattern::compiled;
use crate::engine::Rendered;
use crate::manifest::{HookEvent, Object, sort_objects, split};

/// What is printed of a release.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// No hooks at all.
    pub no_hooks: bool,
    /// No hooks that are tests.
    pub skip_tests: bool,
    /// Only what comes from templates of these paths inside the chart (patterns of `filepath.Match`); all if empty.
    pub show_only: Vec<String>,
}

/// A template that was asked for printed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not find template {template} in chart")]
pub struct MissingTemplate {
    /// The pattern.
    pub template: String,
}

impl Rendered {
    /// The text of the release: the files of `crds/` where they were asked for, objects in the order of installation
    /// (documents without content among them), hooks.
    ///
    /// # Errors
    /// When nothing comes from a template that was asked for.
    pub fn printed(&self, shown: &Shown) -> Result<String, MissingTemplate> {
        let mut text = String::new();
        for (source, file) in &self.crd_files {
            document(&mut text, source, file);
        }
        let mut objects: Vec<&Object> = self.objects.iter().chain(&self.empty).collect();
        sort_objects(&mut objects);
        for object in objects {
            document(&mut text, &object.source, &object.text);
        }
        let mut text = format!("{}\n", text.trim());
        for hook in self.hooks.iter().filter(|_| !shown.no_hooks) {
            if !(shown.skip_tests && hook.events.contains(&HookEvent::Test)) {
                document(&mut text, &hook.object.source, &hook.object.text);
            }
        }
        if shown.show_only.is_empty() {
            return Ok(text);
        }
        let mut only = String::new();
        for pattern in &shown.show_only {
            let regex = compiled(pattern);
            let matches = |document: &&str| {
                path_of(document).is_some_and(|path| regex.as_ref().is_some_and(|regex| regex.is_match(path)))
            };
            let before = only.len();
            for document in split(&text).into_iter().filter(matches) {
                only.push_str(&format!("---\n{document}\n"));
            }
            if only.len() == before {
                return Err(MissingTemplate { template: pattern.clone() });
            }
        }
        Ok(only)
    }
}

impl Rendered {
    /// The documents one by one, each with its file: what `helm template --output-dir` writes. Of `shown` only what it
    /// says of hooks counts.
    #[must_use]
    pub fn documents(&self, shown: &Shown) -> Vec<(&str, String)> {
        let mut objects: Vec<&Object> = self.objects.iter().chain(&self.empty).collect();
        sort_objects(&mut objects);
        let files = self.crd_files.iter().map(|(source, text)| (source.as_ref(), text.as_ref()));
        let objects = objects.into_iter().map(|object| (object.source.as_ref(), object.text.as_ref()));
        let hooks = self
            .hooks
            .iter()
            .filter(|hook| !(shown.no_hooks || shown.skip_tests && hook.events.contains(&HookEvent::Test)));
        let hooks = hooks.map(|hook| (hook.object.source.as_ref(), hook.object.text.as_ref()));
        let all = files.chain(objects).chain(hooks);
        all.map(|(source, text): (&str, &str)| {
            let mut out = String::new();
            document(&mut out, source, text);
            (source, out)
        })
        .collect()
    }
}

fn document(out: &mut String, source: &str, text: &str) {
    out.push_str("---\n# Source: ");
    out.push_str(source);
    out.push('\n');
    out.push_str(text);
    out.push('\n');
}

/// The path inside the chart that a document's header names.
fn path_of(document: &str) -> Option<&str> {
    let header = document.lines().find_map(|line| Some(line.split_once("# Source: ")?.1))?;
    header.split_once('/').map(|(_, path)| path).filter(|path| !path.is_empty())
}
