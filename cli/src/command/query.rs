//! `skein query`: PromQL over all regions.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Asking, Output};

/// What to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// PromQL, for example `sum by (region) (rate(skein_edge_applies_total[5m]))`
    query: String,
    /// At which moment (RFC 3339 or Unix seconds); now if not given
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Asks and shows; warnings about what is missing are part of the answer.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state)?;
    let mut form = vec![("query", arguments.query)];
    form.extend(arguments.time.map(|time| ("time", time)));
    let answer = reqwest::Client::new()
        .post(format!("{url}/api/v1/query"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form_urlencoded(&form))
        .send()
        .await
        .with_context(|| format!("the hub at {url} does not answer"))?;
    let answer: Value = answer.json().await.context("the hub's answer is not JSON")?;
    if answer["status"] != "success" {
        bail!("{}: {}", text(&answer["errorType"]), text(&answer["error"]));
    }
    if arguments.asking.output == Output::Json {
        super::print(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    super::print(&rows(&answer["data"]));
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        super::print(&format!("warning: {}", text(warning)));
    }
    Ok(())
}

/// A line for each series: its labels, and its value or values.
fn rows(data: &Value) -> String {
    if matches!(data["resultType"].as_str(), Some("scalar" | "string")) {
        return text(&data["result"][1]);
    }
    let mut table = super::table(&["SERIES", "VALUE"]);
    for series in data["result"].as_array().into_iter().flatten() {
        let labels: Vec<_> = series["metric"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name = series["metric"]["__name__"].as_str().unwrap_or_default();
        let values: Vec<_> = match series["values"].as_array() {
            Some(values) => values.iter().map(|value| text(&value[1])).collect(),
            None => vec![text(&series["value"][1])],
        };
        table.add_row([format!("{name}{{{}}}", labels.join(", ")), values.join(" ")]);
    }
    if table.is_empty() { "no series".to_owned() } else { table.trim_fmt() }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `application/x-www-form-urlencoded`: everything but letters, digits and `-._~` as `%XX`.
pub(super) fn form_urlencoded(fields: &[(&str, String)]) -> String {
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    fields.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_table() {
        let data = serde_json::json!({"resultType": "vector", "result": [
            {"metric": {"region": "eu"}, "value": [1.0, "0.5"]},
            {"metric": {"__name__": "up", "region": "us"}, "value": [1.0, "1"]},
        ]});
        let rows_of = |data: &Value| -> Vec<Vec<String>> {
            rows(data).lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let expected = [["SERIES", "VALUE"], ["{region=\"eu\"}", "0.5"], ["up{region=\"us\"}", "1"]];
        assert_eq!(rows_of(&data), expected);
        assert_eq!(rows(&serde_json::json!({"resultType": "vector", "result": []})), "no series");
    }

    #[test]
    fn a_query_survives_the_form() {
        assert_eq!(form_urlencoded(&[("query", "a{b=\"c\"}+1".into())]), "query=a%7Bb%3D%22c%22%7D%2B1");
    }
}
