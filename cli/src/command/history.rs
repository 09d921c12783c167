//! `skein history`: what the services of an edge settled as, from the edge's own records.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::diff::head;
use super::explain::{ask, asked};
use super::{Asking, text};

/// Whose history.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// clusterdeployment/NAME or edge/NAME; and a service of it: NAME, NAMESPACE.NAME or NAMESPACE/NAME
    #[arg(required = true, num_args = 1..=3, value_name = "SUBJECT [SERVICE]")]
    words: Vec<String>,
    /// Namespace of the object; needed only where several have one of that name
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Asks and shows.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state)?;
    let subject = asked(&arguments.words)?;
    let answer = ask(&url, "history", &subject, arguments.namespace.as_deref()).await?;
    arguments.asking.show(&answer, told)
}

fn told(answer: &Value) -> String {
    let mut table = super::table(&["SERVICE", "WHEN", "VERSION", "HASH", "RESULT", "IN FORCE", "MESSAGE"]);
    let mut count = 0;
    for service in answer["services"].as_array().into_iter().flatten() {
        let name = format!("{}/{}", text(&service["namespace"]), text(&service["name"]));
        for revision in service["revisions"].as_array().into_iter().flatten() {
            let field = |name: &str| text(&revision[name]);
            let hash: String = field("hash").chars().take(12).collect();
            let [at, version, state] = ["at", "version", "state"].map(field);
            table.add_row([name.clone(), at, version, hash, state, field("inForce"), field("message")]);
            count += 1;
        }
    }
    let rows = match (count, answer["live"] == true) {
        (0, true) => "nothing is recorded of it".to_owned(),
        (0, false) => "the history is on the edge".to_owned(),
        _ => table.trim_fmt(),
    };
    format!("{}\n{rows}\n", head(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn revisions_are_rows_and_a_rollback_shows_what_is_in_force() {
        let revision = |version: &str, state: &str, message: &str| {
            json!({"at": "T", "version": version, "hash": "0123456789abcdef", "state": state, "message": message,
                "inForce": "1.0"})
        };
        let answer = json!({"target": "Edge a/e1", "live": true, "atPlan": "1.7", "seen": "T", "services": [
            {"namespace": "shop", "name": "web",
             "revisions": [revision("1.1", "Failed", "was rolled back"), revision("1.0", "Deployed", "")]}]});
        let told = told(&answer);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rows: Vec<_> = told.lines().skip(3).map(words).collect();
        assert_eq!(
            rows[0],
            ["shop/web", "T", "1.1", "0123456789ab", "Failed", "1.0", "was", "rolled", "back"]
        );
        assert_eq!(rows[1], ["shop/web", "T", "1.0", "0123456789ab", "Deployed", "1.0"]);
    }
}
