//! From claims to units: which template, version, values and objects each service of a target has, who wins a release
//! that several sets claim, and what is wrong.
//!
//! A service that cannot be built does not disturb the others. What became of it before is not decided here: the
//! caller keeps the unit it had (a source that is away must never uninstall anything).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::k0rdent::{
    HelmAction, HelmOptions, Service, ServiceSetSpec, ServiceTemplateChain, ServiceType, ServiceWithValues,
    SyncMode,
};
use protocol::plan::{UnitId, UnitKind};
use protocol::policy::Leeways;
use protocol::version::Features;

use super::built::{Built, Sealed};
use super::chain::path;
use super::claim::{Claim, Owner, Release, claims_before, conflict, unit_id, winners};
use super::data::Data;
use super::dependency::{ServiceName, check_services, dependencies_of, name_of};
use super::health;
use super::one_by_one::line_up;
use super::origin::{Origin, SourceOrigin};
use super::provider::Carrying;
use super::target::Target;
use super::template::{Body, Content, Lack, Sight};
use super::values::{Documents, Marks};
use crate::planner::bundle::Bundle;
use crate::planner::patches::Patch;
use crate::planner::rendering::{Options, Request, Unrendered};
use crate::planner::sealing::Recipient;
use crate::planner::unit::{Extras, Frame, chart_head, merged, tries};
use crate::roster::ObjectName;

/// Turns requests into bundles; remembers.
pub trait Renderer {
    /// The bundle of a release.
    ///
    /// # Errors
    /// Why it cannot be rendered, with file and line where there are.
    fn render(&self, request: &Request<'_>) -> Result<Arc<Bundle>, Unrendered>;
    /// The bundle as this recipient gets it: what is confidential is sealed to its key, or everything.
    ///
    /// # Errors
    /// Why the recipient cannot get it.
    fn seal(
        &self,
        bundle: &Arc<Bundle>,
        recipient: &Recipient,
        everything: bool,
    ) -> Result<Arc<Bundle>, String>;
}

/// What is known of units on their target.
pub trait Knowledge {
    /// Whether the unit is there, as far as anybody knows.
    fn is_there(&self, unit: &UnitId) -> bool;
    /// The template it is at, and whether that is deployed; `None` when it is not there.
    fn stands_at(&self, unit: &UnitId) -> Option<(String, bool)>;
}

/// Everything a target is to have.
#[derive(Debug, Clone, Default)]
pub struct Resolution {
    /// Its sets, in the order of the claims.
    pub sets: Vec<SetPlan>,
    /// What its plan needs of the agent, whether it is there or not.
    pub needs: Features,
}

/// One set of a target.
#[derive(Debug, Clone)]
pub struct SetPlan {
    /// Whose.
    pub owner: Owner,
    /// Namespace and name of the `ServiceSet`.
    pub set: ObjectName,
    /// How it is carried out.
    pub carrying: Carrying,
    /// Whether it takes part in upgrades by steps: then each report may bring the next one.
    pub stepping: bool,
    /// Whether its `ServiceSet` says to leave it alone.
    pub paused: bool,
    /// How far a rollout is with the target, if there is one.
    pub release: Option<Release>,
    /// What the `ServiceSet` says.
    pub spec: ServiceSetSpec,
    /// Its services, by namespace and name.
    pub services: Vec<ServicePlan>,
    /// What is wrong with the templates it names.
    pub references: Option<String>,
    /// What is wrong with the dependencies between its services.
    pub dependencies: Option<String>,
    /// What is wrong with its health rules; those are left out.
    pub health: Vec<String>,
}

/// One service of a set.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    /// Namespace and name on the target.
    pub name: ServiceName,
    /// The unit's name.
    pub id: UnitId,
    /// The template.
    pub template: String,
    /// The version.
    pub version: String,
    /// What the template holds.
    pub type_: ServiceType,
    /// The unit and its content; `None` when it cannot be built or is not to be.
    pub built: Option<Built>,
    /// Why there is no unit, or none as new as it should be.
    pub problem: Option<Problem>,
}

/// Why a service is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Somebody must change something; otherwise it is on its way.
    pub failed: bool,
    /// Whether the unit must leave the plan, whatever was there before.
    pub withdraw: bool,
    /// Why, for a person.
    pub message: String,
}

impl Problem {
    /// Until somebody changes something; what was there stays.
    pub fn failed(message: String) -> Self {
        Self { failed: true, withdraw: false, message }
    }

    /// On its way; why it is not there yet.
    pub fn pending(message: String) -> Self {
        Self { failed: false, withdraw: false, message }
    }
}

/// What the target is to have.
pub fn resolve(
    target: &Target,
    claims: &[Claim],
    sight: &Sight<'_>,
    renderer: &dyn Renderer,
    known: &dyn Knowledge,
) -> Resolution {
    let winners = winners(claims);
    let mut sets = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let lost = |name: &ServiceName| {
            winners
                .get(name)
                .filter(|winner| **winner != index)
                .map(|winner| conflict(&claims[*winner], name))
        };
        let before = claims_before(claims, &claim.depends_on, &winners);
        let health = health::rules(sight, claim, target);
        sets.push(
            Scene { target, claim, sight, health, renderer, known, lost: &lost, before: &before }.set(),
        );
    }
    hold_back(&mut sets, known);
    Resolution { sets, needs: Features::default() }
}

/// One claim and what is around it.
pub(super) struct Scene<'a, 's> {
    target: &'a Target,
    pub(super) claim: &'a Claim,
    pub(super) sight: &'a Sight<'s>,
    health: health::Found,
    renderer: &'a dyn Renderer,
    known: &'a dyn Knowledge,
    lost: &'a dyn Fn(&ServiceName) -> Option<String>,
    /// Units of the MultiClusterServices that come first.
    before: &'a [UnitId],
}

impl Scene<'_, '_> {
    fn set(&self) -> SetPlan {
        let claim = self.claim;
        let namespace = self.namespace();
        let data = Data::new(self.target, claim, self.sight);
        let mut services: Vec<&Service> = claim.spec.services.iter().collect();
        services.sort_by_key(|service| name_of(service));
        let dependencies = check_services(&claim.spec.services).err();
        let services: Vec<Service> =
            services.into_iter().map(|service| self.stepped(namespace, service)).collect();
        let contents: Vec<_> = services.iter().map(|service| self.content(namespace, service)).collect();
        let wrong: Vec<_> = contents
            .iter()
            .filter_map(|content| content.as_ref().err())
            .filter(|lack| !matches!(lack, Lack::Waiting(_)))
            .map(|lack| lack.message().to_owned())
            .collect();
        let references = (!wrong.is_empty())
            .then(|| format!("some services have invalid templates\n{}", wrong.join("\n")));
        let mut plans = Vec::new();
        let mut written = Vec::new();
        for (service, content) in services.iter().zip(contents) {
            let version = self.version(service, content.as_ref().ok());
            written.push(written_service(service, &version));
            let type_ = content.as_ref().map_or(ServiceType::Helm, |content| type_of(content.kind));
            let plan = self.service(service, content, (version, type_), dependencies.as_deref(), &data);
            plans.extend(plan);
        }
        plans.extend(self.policies(&data));
        if !claim.carrying.continues_on_error {
            line_up(&claim.spec.services, &mut plans);
        }
        let multi_cluster_service = match &claim.owner {
            Owner::ClusterDeployment => None,
            Owner::MultiClusterService(name) => Some(name.clone()),
        };
        SetPlan {
            owner: claim.owner.clone(),
            set: claim.set.clone(),
            carrying: claim.carrying.clone(),
            paused: false,
            release: claim.release.clone(),
            stepping: claim.spec.services.iter().any(|service| service.template_chain.is_some()),
            spec: ServiceSetSpec {
                // k0rdent: a set without a cluster is the management cluster's.
                cluster: if claim.is_self_management() {
                    String::new()
                } else {
                    self.target.name.name.clone()
                },
                multi_cluster_service,
                provider: claim.carrying.provider.clone(),
                services: written,
            },
            services: plans,
            references,
            dependencies,
            health: self.health.problems.clone(),
        }
    }

    /// The service at the next step of its chain: upgrades go one step at a time, each deployed before the next.
    fn stepped(&self, namespace: &str, service: &Service) -> Service {
        let mut service = service.clone();
        let chain = service.template_chain.as_ref().filter(|chain| !chain.is_empty());
        let Some(chain) =
            chain.and_then(|chain| self.sight.view.get::<ServiceTemplateChain>(namespace, chain))
        else {
            return service;
        };
        let Some((at, deployed)) = self.known.stands_at(&self.unit_id(&name_of(&service))) else {
            return service;
        };
        if at == service.template {
            return service;
        }
        // Without a way the service stays what it is; the condition of the chain says what it lacks.
        let step = match path(&chain.spec.supported_templates, &at, &service.template) {
            Some(way) if deployed => way.into_iter().next().unwrap_or(at),
            Some(_) | None => at,
        };
        if step != service.template {
            service.version = None;
            service.template = step;
        }
        service
    }

    /// The template's content; a chain that the service names must permit the template.
    fn content(&self, namespace: &str, service: &Service) -> Result<Content, Lack> {
        if let Some(chain) = service.template_chain.as_ref().filter(|chain| !chain.is_empty()) {
            let found = self.sight.view.get::<ServiceTemplateChain>(namespace, chain).ok_or_else(|| {
                Lack::Missing(format!(
                    "failed to get ServiceTemplateChain {namespace}/{chain}: ServiceTemplateChain.k0rdent.mirantis.com \"{chain}\" not found"
                ))
            })?;
            if !found.spec.supported_templates.iter().any(|one| one.name == service.template) {
                return Err(Lack::Invalid(format!(
                    "the ServiceTemplateChain {namespace}/{chain} does not support ServiceTemplate {}",
                    service.template
                )));
            }
        }
        let name = &service.template;
        self.sight.service_template(namespace, name).map_err(|lack| match lack {
            Lack::Invalid(why) => Lack::Invalid(format!(
                "the ServiceTemplate {namespace}/{name} is invalid with the error: {why}"
            )),
            lack @ (Lack::Missing(_) | Lack::Waiting(_)) => lack,
        })
    }

    fn version(&self, service: &Service, content: Option<&Content>) -> String {
        let given = service.version.clone().filter(|version| !version.is_empty());
        given
            .or_else(|| content.map(|content| content.version.clone()))
            .unwrap_or_else(|| service.template.clone())
    }

    /// `None` when the service is not to be there at all.
    fn service(
        &self,
        service: &Service,
        content: Result<Content, Lack>,
        (version, type_): (String, ServiceType),
        dependencies: Option<&str>,
        data: &Data<'_>,
    ) -> Option<ServicePlan> {
        let name = name_of(service);
        let id = self.unit_id(&name);
        if service.helm_action == Some(HelmAction::Uninstall) {
            return None;
        }
        if service.disable && !self.known.is_there(&id) {
            return None;
        }
        let marks = Marks::named(self.sight, self.namespace(), &service.template);
        let outcome = self.build(service, &id, content, (&version, dependencies, marks), data);
        let (built, problem) = match outcome {
            Ok(built) => (Some(built), None),
            Err(problem) => (None, Some(problem)),
        };
        Some(ServicePlan { name, id, template: service.template.clone(), version, type_, built, problem })
    }

    pub(super) fn build(
        &self,
        service: &Service,
        id: &UnitId,
        content: Result<Content, Lack>,
        (version, dependencies, marks): (&str, Option<&str>, Marks),
        data: &Data<'_>,
    ) -> Result<Built, Problem> {
        if let Some(message) = (self.lost)(&name_of(service)) {
            return Err(Problem { failed: true, withdraw: true, message });
        }
        if let Some((namespace, name)) = self.stopped_by() {
            let what = "is not begun, and what is there stays as it is";
            return Err(Problem::failed(format!(
                "{what}: release {namespace}/{name} of this set is in conflict, and stopOnConflict is set"
            )));
        }
        if let Some(message) = dependencies {
            return Err(Problem::failed(message.to_owned()));
        }
        let content = content.map_err(|lack| match lack {
            Lack::Waiting(message) => Problem::pending(message),
            Lack::Missing(message) | Lack::Invalid(message) => Problem::failed(message),
        })?;
        let mut documents = Documents::read(
            self.sight,
            &self.claim.set.0,
            &service.values_from,
            service.values.as_deref(),
            data,
        )?;
        let body = self.body((service, marks), &content, &id.namespace, &mut documents, data)?;
        let options = merged(service.helm_options.as_ref(), content.helm_options.as_ref());
        let patches = self.patches(&mut documents, data)?;
        let request = Request {
            body: &body,
            namespace: &id.namespace,
            name: &id.name,
            documents: &documents.texts,
            kubernetes_version: self.target.kubernetes_version.as_deref(),
            labels: &[],
            store: Some((&self.claim.set.0, &self.claim.set.1)),
            patches: &patches,
            options: rendering_options(&options),
        };
        let bundle = self.renderer.render(&request).map_err(|unrendered| {
            if let Some(key) = &unrendered.waits_for {
                self.sight.view.note(key.kind, &key.namespace, &key.name);
            }
            if !unrendered.failed {
                return Problem::pending(unrendered.message);
            }
            // Which document is wrong, the renderer cannot know.
            let message = documents.fault().unwrap_or_else(|| {
                let source = self.sight.told_source(self.namespace(), &service.template);
                source.map_or_else(String::new, |source| format!("{}: ", source.name)) + &unrendered.message
            });
            Problem::failed(documents.redact(&message, data))
        })?;
        let asked = self.asked(id, content.kind, &bundle)?;
        let secret = documents.hold_secrets() || marks.secret;
        let sealed = Sealed::make(bundle, secret, self.target.recipient.as_ref(), self.renderer)
            .map_err(Problem::failed)?;
        let origin = Origin {
            source: source_of(&service.template, version, &content),
            documents: documents.origins,
            objects: documents.objects.into_iter().collect(),
        };
        let frame = self.frame(service, id, (&content, version), asked, options);
        Ok(Built::new(frame, sealed, origin))
    }

    /// What is asked for besides that its objects are there.
    fn asked(&self, id: &UnitId, kind: UnitKind, bundle: &Bundle) -> Result<(Leeways, Extras), Problem> {
        let carrying = &self.claim.carrying;
        let latitude = carrying.latitude.as_ref();
        let latitude =
            latitude.map_err(|error| Problem::failed(format!("spec.serviceSpec.provider.config.{error}")))?;
        let orders = carrying.orders.as_ref().map_err(|why| Problem::failed(why.clone()))?;
        let extras = Extras {
            health: self.health.of(kind, bundle),
            orders: orders.of_service(&id.namespace, &id.name),
            reloads: carrying.reloads,
            prunes_definitions: carrying.prunes_definitions,
        };
        Ok((latitude.of(bundle, &id.namespace), extras))
    }

    /// What the unit is besides its objects.
    fn frame(
        &self,
        service: &Service,
        id: &UnitId,
        (content, version): (&Content, &str),
        (leeway, extras): (Leeways, Extras),
        options: HelmOptions,
    ) -> Frame {
        let own = dependencies_of(service).into_iter().map(|name| self.unit_id(&name));
        Frame {
            id: id.clone(),
            kind: content.kind,
            template: service.template.clone(),
            version: version.to_owned(),
            tier: self.claim.carrying.tier(),
            depends_on: own.chain(self.before.iter().cloned()).collect(),
            drift: self.claim.carrying.drift(),
            removal: self.claim.carrying.removal,
            chart: match &content.body {
                Body::Chart(chart) => Some(chart_head(&chart.chart)),
                Body::Manifests(_) => None,
            },
            dry_run: self.claim.carrying.sync_mode == SyncMode::DryRun,
            rollback_after: tries(content.kind, &options, self.claim.carrying.max_consecutive_failures),
            leeway,
            extras,
            options,
        }
    }

    /// The patches of the set; they may be templates.
    fn patches(&self, documents: &mut Documents, data: &Data<'_>) -> Result<Vec<Patch>, Problem> {
        let given = self.claim.carrying.patches.as_ref();
        let given =
            given.map_err(|error| Problem::failed(format!("spec.serviceSpec.provider.config.{error}")))?;
        let expanded = given.iter().enumerate().map(|(at, one)| {
            let text = data.expand(&format!("patches[{at}]"), &one.patch)?;
            documents.objects.extend(text.objects);
            Ok(Patch { patch: text.text, target: one.target.clone() })
        });
        expanded.collect()
    }

    /// The release over which a set that stops at conflicts has one.
    fn stopped_by(&self) -> Option<ServiceName> {
        let all = self.claim.spec.services.iter().filter(|_| self.claim.carrying.stop_on_conflict);
        all.map(name_of).find(|name| (self.lost)(name).is_some())
    }

    /// The content of the template; manifests that say so are templates themselves.
    fn body<'b>(
        &self,
        (service, marks): (&Service, Marks),
        content: &'b Content,
        namespace: &str,
        documents: &mut Documents,
        data: &Data<'_>,
    ) -> Result<Cow<'b, Body>, Problem> {
        let mut body = Cow::Borrowed(&content.body);
        if let Some(kustomization) = &content.kustomization {
            let built = self.sight.sources.built(kustomization, namespace).map_err(Problem::failed)?;
            body = Cow::Owned(Body::Manifests(documents.substituted(&built)?));
        }
        let Body::Manifests(files) = &*body else { return Ok(body) };
        if !marks.templated {
            return Ok(body);
        }
        let mut expanded = Vec::new();
        for (file, text) in files {
            let text = data.expand(&format!("{}/{file}", service.template), text)?;
            documents.objects.extend(text.objects);
            expanded.push((file.clone(), text.text));
        }
        Ok(Cow::Owned(Body::Manifests(expanded)))
    }

    /// Where templates are looked up.
    fn namespace(&self) -> &str {
        match self.claim.owner {
            Owner::ClusterDeployment => &self.target.name.namespace,
            Owner::MultiClusterService(_) => &self.target.template_namespace,
        }
    }

    pub(super) fn unit_id(&self, (namespace, name): &ServiceName) -> UnitId {
        unit_id(&self.claim.set, namespace, name)
    }
}

fn source_of(template: &str, version: &str, content: &Content) -> SourceOrigin {
    let (kind, version, digest) = match &content.body {
        Body::Chart(chart) => ("chart", chart.version.clone(), chart.digest.clone()),
        Body::Manifests(_) => {
            let kind = if content.kustomization.is_some() { "kustomization" } else { "manifests" };
            (kind, version.to_owned(), String::new())
        }
    };
    SourceOrigin {
        template: template.to_owned(),
        kind: kind.to_owned(),
        version,
        digest,
        stale: content.stale.as_ref().map(|failure| failure.message.clone()),
    }
}

/// What of the Helm options matters to rendering.
pub fn rendering_options(options: &HelmOptions) -> Options {
    Options {
        skip_crds: options.skip_crds.unwrap_or(false),
        skip_schema_validation: options.skip_schema_validation.unwrap_or(false),
    }
}

/// A unit whose dependency has no unit waits, unless it is there already; then it goes on without that dependency.
fn hold_back(sets: &mut [SetPlan], known: &dyn Knowledge) {
    loop {
        let there: BTreeSet<UnitId> = sets
            .iter()
            .flat_map(|set| &set.services)
            .filter(|service| service.built.is_some())
            .map(|service| service.id.clone())
            .collect();
        let mut changed = false;
        for service in sets.iter_mut().flat_map(|set| &mut set.services) {
            let Some(built) = &mut service.built else { continue };
            let Some(missing) = built.depends_on.iter().find(|on| !there.contains(on)).cloned() else {
                continue;
            };
            changed = true;
            if known.is_there(&service.id) {
                built.keep_dependencies(|on| there.contains(on));
            } else {
                service.built = None;
                let message = format!("waiting for service {}/{}", missing.namespace, missing.name);
                service.problem = Some(Problem::pending(message));
            }
        }
        if !changed {
            return;
        }
    }
}

fn type_of(kind: UnitKind) -> ServiceType {
    match kind {
        UnitKind::Helm => ServiceType::Helm,
        UnitKind::Kustomize => ServiceType::Kustomize,
        UnitKind::Resources => ServiceType::Resource,
    }
}

/// The service as its `ServiceSet` says it.
fn written_service(service: &Service, version: &str) -> ServiceWithValues {
    let (namespace, name) = name_of(service);
    ServiceWithValues {
        helm_action: service.helm_action,
        helm_options: service.helm_options.clone(),
        name,
        namespace,
        template: service.template.clone(),
        values: service.values.clone(),
        values_from: service.values_from.clone(),
        version: Some(version.to_owned()),
    }
}

#[cfg(test)]
mod tests;
