//! `ClusterAuthentication`: how users of a child cluster log in.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;

/// How users log in.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterAuthentication",
    doc = "How users of a child cluster log in.",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "clauth"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAuthenticationSpec {
    /// The body of an apiserver.config.k8s.io AuthenticationConfiguration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_configuration: Option<AuthenticationConfiguration>,
    /// Secret with the CA of the issuers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKeyReference>,
}

/// The body of an `apiserver.config.k8s.io/v1beta1` AuthenticationConfiguration. Unknown fields are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct AuthenticationConfiguration {
    /// Whether requests without credentials are let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<AnonymousAuthConfig>,
    /// Issuers of tokens that are accepted.
    pub jwt: Vec<JwtAuthenticator>,
    /// What newer versions of Kubernetes know and this one does not.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// Whether requests without credentials are let in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AnonymousAuthConfig {
    /// Only for these paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<AnonymousAuthCondition>,
    /// They are let in.
    pub enabled: bool,
}

/// A path for which requests without credentials are let in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AnonymousAuthCondition {
    /// The path.
    pub path: String,
}

/// An issuer of tokens and how its claims become a user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JwtAuthenticator {
    /// How claims become a user.
    pub claim_mappings: ClaimMappings,
    /// What must hold for the claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// The issuer.
    pub issuer: Issuer,
    /// What must hold for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// How claims become a user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimMappings {
    /// Further attributes of the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<ExtraMapping>,
    /// The user's groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<PrefixedClaimOrExpression>,
    /// The user's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<ClaimOrExpression>,
    /// The user's name.
    pub username: PrefixedClaimOrExpression,
}

/// A further attribute of a user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExtraMapping {
    /// The attribute's key, a path with a domain.
    pub key: String,
    /// CEL expression over `claims` that gives the value.
    pub value_expression: String,
}

/// A claim with a prefix, or an expression.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrefixedClaimOrExpression {
    /// Name of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// CEL expression over `claims`, instead of a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Put before the claim's value; demanded with a claim, may be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A claim or an expression.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimOrExpression {
    /// Name of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// CEL expression over `claims`, instead of a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
}

/// What must hold for the claims: a claim with a value, or an expression.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimValidationRule {
    /// Name of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// CEL expression over `claims` that must be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// Told to the user when the expression is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The value the claim must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_value: Option<String>,
}

/// What must hold for the user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UserValidationRule {
    /// CEL expression over `user` that must be true.
    pub expression: String,
    /// Told to the user when the expression is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An OpenID Connect issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// How audiences are compared: MatchAny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience_match_policy: Option<String>,
    /// Audiences that are accepted.
    pub audiences: Vec<String>,
    /// CA of the issuer, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<String>,
    /// Where the discovery document is, when not below the issuer's URL.
    #[serde(default, rename = "discoveryURL", skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    /// Which egress the API server uses: controlplane or cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_selector_type: Option<String>,
    /// The issuer's URL, as tokens carry it.
    pub url: String,
}
