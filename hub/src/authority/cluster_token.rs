//! Tokens for the edge agents of the clusters that regions make. A region draws the secret, and the hub never sees it.

use std::collections::BTreeMap;

use api::k0rdent::{ClusterDeployment, ClusterDeploymentRef};
use api::names::LOCAL_REGION;
use api::skein::{JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Resource as _, ResourceExt as _};
use protocol::UnixMillis;
use protocol::enrolment::{Refusal, RefusalReason, TokenId};
use protocol::id::RegionName;
use protocol::message::Response;

use super::registrar::{Denied, Registrar, TOKEN_ID};

/// How long a token for a cluster that a region made can be used.
const CLUSTER_TOKEN_MS: UnixMillis = 3_600_000;

impl Registrar {
    /// Registers the token that a region drew for the edge agent of a cluster it made.
    pub async fn cluster_token(
        &self,
        region: &RegionName,
        namespace: &str,
        name: &str,
        id: TokenId,
        public_key: &Bytes,
    ) -> Response {
        match self.try_cluster_token(region, namespace, name, id, public_key).await {
            Ok(not_after) => Response::TokenRegistered { not_after },
            Err(denied) => self.denied("cluster token", denied),
        }
    }

    async fn try_cluster_token(
        &self,
        region: &RegionName,
        namespace: &str,
        name: &str,
        id: TokenId,
        public_key: &Bytes,
    ) -> Result<UnixMillis, Denied> {
        let clusters = Api::<ClusterDeployment>::namespaced(self.client.clone(), namespace);
        let cluster = clusters.get_opt(name).await?;
        let placed = cluster
            .as_ref()
            .and_then(|cluster| cluster.status.as_ref())
            .and_then(|status| status.region.clone());
        let placed = placed.filter(|placed| !placed.is_empty()).unwrap_or_else(|| LOCAL_REGION.to_owned());
        let Some(cluster) = cluster.filter(|_| placed == region.as_str()) else {
            let message = format!("ClusterDeployment {namespace}/{name} is not one of region \"{region}\"");
            return Err(Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None }.into());
        };
        let id = hex::encode(id.0);
        let not_after = self.clock.now() + CLUSTER_TOKEN_MS;
        let token = JoinToken {
            metadata: ObjectMeta {
                name: Some(format!("{name}-{}", &id[..8])),
                namespace: Some(namespace.to_owned()),
                labels: Some(BTreeMap::from([(TOKEN_ID.to_owned(), id.clone())])),
                owner_references: cluster.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: JoinTokenSpec {
                cluster_deployment: Some(ClusterDeploymentRef {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                }),
                labels: cluster.labels().clone(),
                name: Some(name.to_owned()),
                not_after: Time(
                    jiff::Timestamp::from_millisecond(not_after.cast_signed())
                        .unwrap_or(jiff::Timestamp::MAX),
                ),
                public_key: STANDARD.encode(public_key),
                region: region.to_string(),
                role: JoinRole::Edge,
                template_namespace: Some(namespace.to_owned()),
                token_id: Some(id),
                ..JoinTokenSpec::default()
            },
            status: None,
        };
        let tokens = Api::<JoinToken>::namespaced(self.client.clone(), namespace);
        match tokens.create(&PostParams::default(), &token).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(not_after),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(not_after),
        }
    }
}
