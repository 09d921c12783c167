//! Step 2: whether what was found can be planned.

use protocol::id::RegionName;

use super::{Found, FoundRegion, Valid};

pub(super) fn validate(found: Found) -> Valid {
    let region = match &found.region {
        None => Err("the region is not known without a Credential".to_owned()),
        Some(region) => region_name(region),
    };
    Valid { found, region }
}

fn region_name(region: &FoundRegion) -> Result<RegionName, String> {
    let name = &region.name;
    if !region.exists {
        return Err(format!("failed to get Region {name}: Region.k0rdent.mirantis.com \"{name}\" not found"));
    }
    name.parse().map_err(|error| format!("Region {error}"))
}
