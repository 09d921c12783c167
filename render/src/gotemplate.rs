//! Go templates outside of charts: values that refer to cluster objects, as Sveltos offers them
//! (`{{ .Cluster.metadata.name }}`, `{{ getField "CAPICluster" "spec.x" }}`, `{{ (getResource "Name").data.x }}`,
//! `{{ copy "Name" }}`, `{{ setField "Name" "spec.x" 1 }}`).

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::{Position, RenderError};
use crate::limits::Limits;
use crate::template::ast::Source;
use crate::template::env::Env;
use crate::template::exec::{Layer, Machine};
use crate::template::funcs::Dialect;
use crate::template::json::from_json;
use crate::template::parse::parse;
use crate::{Entropy, NoCluster};

/// Randomness and time are not part of a values template: both answer zeros.
struct Nothing;

impl Entropy for Nothing {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        vec![0; count]
    }

    fn now_unix_seconds(&mut self) -> i64 {
        0
    }
}

/// What a template became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// What it asked for by name: entries of the top level (`Cluster`), and resources as `MgmtResources.Name`. What is
    /// reached only by walking over a whole map is not among them.
    pub used: BTreeSet<String>,
}

/// Expands a Go template over `data`, a map such as `{"Cluster": {...}, "MgmtResources": {"Name": {...}}}`.
///
/// A key that does not exist is an error, as in Sveltos: a reference that leads nowhere must not become an empty
/// value. Functions that need randomness or the clock are refused:
/// the result must be reproducible.
///
/// # Errors
/// When the text is not a template or fails while it executes.
pub fn expand_template(
    name: &str,
    text: &str,
    data: &Json,
    limits: &Limits,
) -> Result<Expanded, RenderError> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let template_name: Arc<str> = Arc::from(name);
    let parsed = parse(&source, &template_name, limits.nesting_depth, Dialect::Sveltos).map_err(|error| {
        RenderError::Parse {
            position: Position::new(name, source.line_column(error.offset)),
            message: error.message,
            function: error.function,
        }
    })?;
    let mut layer = Layer::default();
    for define in parsed.defines {
        layer.add(define);
    }
    let (mut entropy, lookup) = (Nothing, NoCluster);
    let mut env = Env::new(&mut entropy, &lookup, limits);
    env.strict_keys = true;
    let data = from_json(data);
    if let crate::template::value::Value::Dict(dict) = &data {
        env.resources = Some(dict.clone());
    }
    let mut machine = Machine::new(env, Rc::new(layer));
    let output = machine.execute(&parsed.root, &data)?;
    let used = machine.env.used_entropy || machine.env.used_clock;
    if used {
        let function = if machine.env.used_clock { "now" } else { "a random function" };
        return Err(RenderError::Unsupported {
            position: Position::new(name, (1, 0)),
            function: function.to_owned(),
        });
    }
    let used = std::mem::take(&mut machine.env.touched);
    Ok(Expanded { text: String::from_utf8_lossy(&output).into_owned(), used })
}
