//! A shortlist (`eRS-Shortlist-List-1`): services, and the criteria that found them.

use serde_json::Value;

use super::Issues;
use super::criteria::{self, Criteria};
use super::element::Element;
use crate::simulator::services::{Flow, is_service_id};
use crate::simulator::world::World;

const PROFILE: &str = "https://fhir.nhs.uk/STU3/StructureDefinition/eRS-Shortlist-List-1";
const CRITERIA_EXTENSION: &str =
    "https://fhir.nhs.uk/STU3/StructureDefinition/Extension-eRS-Shortlist-SearchCriteria-1";
/// Of a referral that is not sent anywhere yet (A011, A031).
pub const SERVICES_MAX: usize = 20;

pub struct Shortlist<'a> {
    pub services: Vec<&'a str>,
    pub criteria: Criteria<'a>,
    /// The `parameter` array of the criteria, as it was sent.
    pub criteria_parameters: &'a Value,
}

/// What the services are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Referral,
    /// Exactly one service, which triages (A021, A032).
    Triage,
    /// Exactly one service, which gives advice (A044).
    Advice,
}

impl For {
    fn services_max(self) -> usize {
        match self {
            Self::Referral => SERVICES_MAX,
            Self::Triage | Self::Advice => 1,
        }
    }

    fn flows(self) -> &'static [Flow] {
        match self {
            Self::Referral => &[Flow::Appointment, Flow::Triage],
            Self::Triage => &[Flow::Triage],
            Self::Advice => &[Flow::Advice],
        }
    }
}

/// Reports every issue; `None` when services or criteria could not be read.
pub fn read<'a>(list: &Element<'a>, wanted: For, world: &World, issues: &mut Issues) -> Option<Shortlist<'a>> {
    list.object(
        &["resourceType", "id", "meta", "status", "mode", "contained", "entry", "extension", "language"],
        issues,
    )?;
    list.resource("List", &[PROFILE], issues);
    for (name, expected) in [("status", "current"), ("mode", "snapshot")] {
        if let Some(found) = list.required(name, issues) {
            found.fixed(expected, issues);
        }
    }
    let criteria = criteria_of(list, world, issues);
    let services = entries(list, wanted.services_max(), issues);
    if let (Some((criteria, _)), Some(services)) = (&criteria, &services) {
        check_services(services, wanted, criteria, world, issues);
    }
    let (criteria, criteria_parameters) = criteria?;
    let services = services?.into_iter().map(|(id, _)| id).collect();
    Some(Shortlist { services, criteria, criteria_parameters })
}

/// The contained criteria that the extension points at.
fn criteria_of<'a>(list: &Element<'a>, world: &World, issues: &mut Issues) -> Option<(Criteria<'a>, &'a Value)> {
    let contained = list.required("contained", issues).and_then(|found| found.array(issues));
    let target = criteria_reference(list, issues);
    let (Some(contained), Some((target, path))) = (contained, target) else { return None };
    let mut found = None;
    for resource in &contained {
        let criteria = criteria::read(resource, world, issues);
        if resource.value["id"].as_str() == Some(target) {
            found = Some((criteria, &resource.value["parameter"]));
        }
    }
    if found.is_none() {
        issues.add("REFERENCE_NOT_FOUND", &path, format_args!("#{target} is not contained"));
    }
    let (criteria, parameters) = found?;
    Some((criteria?, parameters))
}

/// The id behind `#`, and where it stands.
fn criteria_reference<'a>(list: &Element<'a>, issues: &mut Issues) -> Option<(&'a str, String)> {
    let extension = list.required("extension", issues)?.only_item(issues)?;
    extension.object(&["url", "valueReference"], issues)?;
    let url = extension.required("url", issues).and_then(|url| url.fixed(CRITERIA_EXTENSION, issues));
    let target = extension.required("valueReference", issues)?;
    target.object(&["reference"], issues)?;
    let reference = target.required("reference", issues)?;
    let text = reference.text(issues)?;
    let Some(id) = text.strip_prefix('#').filter(|id| !id.is_empty()) else {
        issues.add("INVALID_VALUE", &reference.path, "must be # and the id of a contained resource");
        return None;
    };
    url.map(|()| (id, reference.path))
}

/// The service ids and where each stands; repeated ones are reported.
fn entries<'a>(list: &Element<'a>, max: usize, issues: &mut Issues) -> Option<Vec<(&'a str, String)>> {
    let entry = list.required("entry", issues)?;
    let items = entry.array(issues)?;
    if items.is_empty() {
        issues.add("MISSING_VALUE", &entry.path, "must name at least one service");
        return None;
    }
    if items.len() > max {
        issues.add("TOO_MANY_ITEMS", &entry.path, format_args!("must name at most {max} services"));
        return None;
    }
    let mut services: Vec<(&str, String)> = Vec::with_capacity(items.len());
    let mut whole = true;
    for item in &items {
        match service_id(item, issues) {
            Some((id, path)) => {
                if services.iter().any(|(other, _)| *other == id) {
                    issues.add("DUPLICATE_SERVICE", &path, format_args!("service {id} is already on the shortlist"));
                }
                services.push((id, path));
            }
            None => whole = false,
        }
    }
    whole.then_some(services)
}

fn service_id<'a>(entry: &Element<'a>, issues: &mut Issues) -> Option<(&'a str, String)> {
    entry.object(&["item"], issues)?;
    let item = entry.required("item", issues)?;
    item.object(&["identifier", "display"], issues)?;
    let identifier = item.required("identifier", issues)?;
    let id = identifier.identifier("http://fhir.nhs.net/Id/ers-service", issues)?;
    if !is_service_id(id) {
        issues.add("INVALID_VALUE", &identifier.path, "must be a numeric service id");
        return None;
    }
    Some((id, identifier.path))
}

/// Each service must exist and be a result of a search with the same criteria.
fn check_services(
    services: &[(&str, String)],
    wanted: For,
    criteria: &Criteria<'_>,
    world: &World,
    issues: &mut Issues,
) {
    for (id, path) in services {
        match world.services.find(id) {
            None => issues.add("REFERENCE_NOT_FOUND", path, format_args!("service {id} is not known")),
            Some(service) => {
                let suitable = wanted.flows().iter().any(|flow| service.takes(*flow));
                if !suitable || !service.matches(criteria) {
                    let text = format_args!("service {id} is not a result of these criteria").to_string();
                    issues.add("SHORTLISTED_SERVICE_NOT_IN_RESULTS", path, text);
                }
            }
        }
    }
}
