//! The JSON of OpenCost's `/allocation`.

use serde_json::{Map, Value as Json, json};

use crate::Millis;
use crate::cost::allocation::{AllocationRequest, AllocationRow, GroupBy, IDLE};
use crate::promql::Error;
use crate::query::time_text;

/// The `data` of the answer: one map per window, name to allocation.
///
/// # Errors
/// [`Error::Parse`] when the request has too many windows.
pub fn allocation_data(request: &AllocationRequest, rows: &[AllocationRow]) -> Result<Json, Error> {
    let windows = request.windows()?;
    let properties = request.properties();
    let mut data: Vec<Map<String, Json>> = windows.iter().map(|_| Map::new()).collect();
    for row in rows {
        let index = row.window as usize;
        if let (Some(window), Some(map)) = (windows.get(index), data.get_mut(index)) {
            let name = row.names.join("/");
            map.insert(name.clone(), allocation(&name, row, &properties, *window));
        }
    }
    Ok(Json::Array(data.into_iter().map(Json::Object).collect()))
}

/// Fields of OpenCost for what is not charged.
const NOT_CHARGED: [&str; 20] = [
    "cpuCostAdjustment",
    "gpuCostAdjustment",
    "networkTransferBytes",
    "networkReceiveBytes",
    "networkCost",
    "networkCrossZoneCost",
    "networkCrossRegionCost",
    "networkInternetCost",
    "networkCostAdjustment",
    "loadBalancerCost",
    "loadBalancerCostAdjustment",
    "pvBytes",
    "pvByteHours",
    "pvCost",
    "pvCostAdjustment",
    "ramCostAdjustment",
    "externalCost",
    "sharedCost",
    "networkNatGatewayEgressCost",
    "networkNatGatewayIngressCost",
];

/// Amount per hour of the time it ran.
fn per(amount: f64, hours: f64) -> f64 {
    if hours > 0.0 { amount / hours } else { 0.0 }
}

/// Usage over request; without a request 1 when anything was used.
fn efficiency(usage: f64, request: f64) -> f64 {
    match (usage > 0.0, request > 0.0) {
        (_, true) => usage / request,
        (true, false) => 1.0,
        (false, false) => 0.0,
    }
}

fn allocation(name: &str, row: &AllocationRow, properties: &[GroupBy], window: (Millis, Millis)) -> Json {
    let numbers = &row.numbers;
    let start = numbers.first.unwrap_or(window.0);
    let end = numbers.last.unwrap_or(window.1);
    let minutes = (end - start) as f64 / 60_000.0;
    let hours = minutes / 60.0;
    let cpu_efficiency = efficiency(numbers.cpu_usage_hours, numbers.cpu_request_hours);
    let ram_efficiency = efficiency(numbers.ram_usage_hours, numbers.ram_request_hours);
    let weighed = numbers.cpu_cost + numbers.ram_cost;
    let total_efficiency = if weighed > 0.0 {
        (cpu_efficiency * numbers.cpu_cost + ram_efficiency * numbers.ram_cost) / weighed
    } else {
        0.0
    };
    let mut map = Map::new();
    map.insert("name".to_owned(), name.into());
    map.insert("properties".to_owned(), properties_of(row, properties));
    map.insert("window".to_owned(), json!({"start": time_text(window.0), "end": time_text(window.1)}));
    map.insert("start".to_owned(), time_text(start).into());
    map.insert("end".to_owned(), time_text(end).into());
    let amounts = [
        ("minutes", minutes),
        ("cpuCores", per(numbers.cpu_core_hours, hours)),
        ("cpuCoreRequestAverage", per(numbers.cpu_request_hours, hours)),
        ("cpuCoreUsageAverage", per(numbers.cpu_usage_hours, hours)),
        ("cpuCoreHours", numbers.cpu_core_hours),
        ("cpuCost", numbers.cpu_cost),
        ("cpuEfficiency", cpu_efficiency),
        ("gpuCount", per(numbers.gpu_hours, hours)),
        ("gpuHours", numbers.gpu_hours),
        ("gpuCost", numbers.gpu_cost),
        ("ramBytes", per(numbers.ram_byte_hours, hours)),
        ("ramByteRequestAverage", per(numbers.ram_request_hours, hours)),
        ("ramByteUsageAverage", per(numbers.ram_usage_hours, hours)),
        ("ramByteHours", numbers.ram_byte_hours),
        ("ramCost", numbers.ram_cost),
        ("ramEfficiency", ram_efficiency),
        ("totalCost", numbers.total()),
        ("totalEfficiency", total_efficiency),
    ];
    map.extend(amounts.iter().map(|(name, amount)| ((*name).to_owned(), json!(amount))));
    map.extend(NOT_CHARGED.iter().map(|name| ((*name).to_owned(), json!(0.0))));
    map.insert("pvs".to_owned(), Json::Null);
    Json::Object(map)
}

fn properties_of(row: &AllocationRow, properties: &[GroupBy]) -> Json {
    let mut map = Map::new();
    if let Some(cluster) = &row.cluster {
        map.insert("cluster".to_owned(), cluster.clone().into());
    }
    if row.names.first().is_some_and(|name| name == IDLE) {
        return Json::Object(map);
    }
    for (property, value) in properties.iter().zip(&row.names) {
        match property {
            GroupBy::Label(label) => {
                let labels = map.entry("labels").or_insert_with(|| json!({}));
                labels[label.as_str()] = value.clone().into();
            }
            GroupBy::Cluster
            | GroupBy::Region
            | GroupBy::Edge
            | GroupBy::Node
            | GroupBy::Namespace
            | GroupBy::ControllerKind
            | GroupBy::Controller
            | GroupBy::Pod => {
                map.insert(property.to_string(), value.clone().into());
            }
        }
    }
    Json::Object(map)
}
