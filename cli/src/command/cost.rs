//! `skein cost`: what the fleet costs, from the hub's OpenCost API.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::query::form_urlencoded;
use super::{Asking, Output};

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sum by cluster, namespace, region, label:NAME, or several of them joined by commas
    #[arg(long, default_value = "namespace", value_name = "DIMENSIONS")]
    by: String,
    /// How far back: a duration such as 1h or 7d, "today", or two times joined by a comma
    #[arg(long, default_value = "1h", value_name = "WINDOW")]
    window: String,
    #[command(flatten)]
    asking: Asking,
}

/// Asks and shows; warnings about what is missing are part of the answer.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state)?;
    let query = form_urlencoded(&[
        ("window", arguments.window),
        ("aggregate", arguments.by),
        ("accumulate", "true".to_owned()),
    ]);
    let answer = reqwest::get(format!("{url}/allocation?{query}"))
        .await
        .with_context(|| format!("the hub at {url} does not answer"))?;
    let answer: Value = answer.json().await.context("the hub's answer is not JSON")?;
    if answer["code"] != 200 {
        let reason = [&answer["message"], &answer["error"]].into_iter().find_map(Value::as_str);
        bail!("{}", reason.unwrap_or("the hub refused without a reason"));
    }
    if arguments.asking.output == Output::Json {
        super::print(&serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    super::print(&rows(&answer["data"]));
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        super::print(&format!("warning: {}", warning.as_str().unwrap_or_default()));
    }
    Ok(())
}

fn rows(data: &Value) -> String {
    let mut table =
        super::table(&["NAME", "CPU CORE-HOURS", "RAM GIB-HOURS", "CPU COST", "RAM COST", "TOTAL"]);
    let mut total = 0.0;
    for set in data.as_array().into_iter().flatten() {
        for (name, allocation) in set.as_object().into_iter().flatten() {
            let number = |field: &str| allocation[field].as_f64().unwrap_or_default();
            total += number("totalCost");
            table.add_row([
                name.clone(),
                format!("{:.3}", number("cpuCoreHours")),
                format!("{:.3}", number("ramByteHours") / 1_073_741_824.0),
                format!("{:.5}", number("cpuCost")),
                format!("{:.5}", number("ramCost")),
                format!("{:.5}", number("totalCost")),
            ]);
        }
    }
    if table.is_empty() {
        return "no cost in this window".to_owned();
    }
    table.add_row(["TOTAL", "", "", "", "", &format!("{total:.5}")]);
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_summed() {
        let data = serde_json::json!([{
            "shop": {"cpuCoreHours": 1.0, "ramByteHours": 1_073_741_824.0, "cpuCost": 0.03, "ramCost": 0.004, "totalCost": 0.034},
            "web": {"totalCost": 0.006},
        }]);
        let text = rows(&data);
        assert!(
            text.lines().last().is_some_and(|line| line.starts_with("TOTAL") && line.ends_with("0.04000")),
            "{text}"
        );
    }
}
