//! What e-RS offers: which path and method is which operation. One file each below; who may call it is in the catalogue.

mod a004_reference_data;
mod a005_retrieve_referral;
mod a006_retrieve_attachment_stu3;
mod a007_clinical_information;
mod a008_provider_lists;
mod a008_worklist;
mod a010_search_services;
mod a011_create_referral;
mod a012_maintain_letter;
mod a013_accept_referral;
mod a014_reject_referral;
mod a015_retrieve_slots;
mod a016_book_or_defer;
mod a019_generate_letter;
mod a020_upload_file;
mod a021_create_for_triage;
mod a022_cancel_action_later;
mod a023_advice_worklist;
mod a024_retrieve_advice;
mod a025_advice_conversation;
mod a026_send_advice_response;
mod a027_convert_advice;
mod a028_record_review_outcome;
mod a029_available_actions;
mod a030_business_functions;
mod a031_change_shortlist;
mod a032_change_and_send_for_triage;
mod a033_services;
mod a034_update_appointment;
mod a036_cancel_referral;
mod a038_retrieve_appointment;
mod a040_on_behalf_of;
mod a041_search_requests;
mod a042_retrieve_attachment;
mod a043_advice_overview;
mod a044_create_advice;
mod catalogue;
mod provider;
mod subject;

pub use a020_upload_file::CONTENT_TYPES as FILE_CONTENT_TYPES;
pub use a042_retrieve_attachment::download;
pub use catalogue::{BodyKind, Operation};

use jiff::Timestamp;
use serde_json::Value;

use self::a027_convert_advice::created_from;
use self::catalogue::{
    A004, A005, A006, A007, A008, A010, A011, A012, A013, A014, A015, A016, A019, A020, A021, A022, A023, A024, A025,
    A026, A027, A028, A029, A030, A031, A032, A033, A034, A035, A036, A037, A038, A040, A041, A042, A043, A044,
};
use self::subject::reference_parts;
use super::access::Caller;
use super::exchange::{Answer, Call};
use super::percent::decoded;
use super::referral::Ubrn;
use super::refusal::Refusal;
use super::world::World;

/// An operation and the ids in its path, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    RetrieveReferenceData { key: String },
    RetrieveReferral { ubrn: String, version: Option<String> },
    RetrieveAttachmentStu3 { id: String },
    ClinicalInformation { ubrn: String },
    FetchWorklist,
    SearchServices,
    CreateReferral,
    MaintainLetter { ubrn: String },
    AcceptReferral { ubrn: String },
    RejectReferral { ubrn: String },
    RetrieveSlots,
    BookOrDefer,
    GenerateLetter { ubrn: String },
    UploadFile,
    CreateForTriage,
    CancelActionLater { ubrn: String },
    AdviceWorklist,
    RetrieveAdvice { ubrn: String, version: Option<String> },
    AdviceConversation,
    SendAdviceResponse { ubrn: String },
    ConvertAdvice,
    RecordReviewOutcome { ubrn: String },
    AvailableActions,
    BusinessFunctions,
    RetrieveService { id: String },
    RetrieveServices,
    ServiceVersion { id: String },
    UpdateAppointment { id: String },
    RetrieveAppointment { id: String, version: Option<String> },
    ChangeShortlist { ubrn: String },
    ChangeAndSendForTriage { ubrn: String },
    CancelReferral { ubrn: String },
    OnBehalfOf,
    SearchRequests,
    RetrieveAttachment { id: String },
    AdviceOverview { ubrn: String },
    CreateAdvice,
}

impl Target {
    /// `path` begins after the API base.
    pub fn of(method: &str, path: &str) -> Option<Self> {
        let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match (method, segments.as_slice()) {
            ("GET", ["STU3", "CodeSystem", key]) => Self::RetrieveReferenceData { key: (*key).into() },
            ("GET", ["STU3", "ReferralRequest", ubrn]) => {
                Self::RetrieveReferral { ubrn: (*ubrn).into(), version: None }
            }
            ("GET", ["STU3", "ReferralRequest", ubrn, "_history", version]) => {
                Self::RetrieveReferral { ubrn: (*ubrn).into(), version: Some((*version).into()) }
            }
            ("POST", ["STU3", "ReferralRequest", "$ers.fetchworklist"]) => Self::FetchWorklist,
            ("POST", ["STU3", "HealthcareService", "$ers.searchHealthcareServicesForPatient"]) => Self::SearchServices,
            ("POST", ["STU3", "ReferralRequest", "$ers.createReferral"]) => Self::CreateReferral,
            ("POST", ["STU3", "ReferralRequest", "$ers.createReferralAndSendForTriage"]) => Self::CreateForTriage,
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.maintainReferralLetter"]) => {
                Self::MaintainLetter { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.acceptReferral"]) => {
                Self::AcceptReferral { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.rejectReferral"]) => {
                Self::RejectReferral { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.cancelAppointmentActionLater"]) => {
                Self::CancelActionLater { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.recordReviewOutcome"]) => {
                Self::RecordReviewOutcome { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "CommunicationRequest", "$ers.fetchworklist"]) => Self::AdviceWorklist,
            ("POST", ["STU3", "CommunicationRequest", ubrn, "$ers.sendCommunicationToRequester"]) => {
                Self::SendAdviceResponse { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", "$ers.createFromCommunicationRequestActionLater"]) => {
                Self::ConvertAdvice
            }
            ("GET", ["R4", "Practitioner"]) => Self::OnBehalfOf,
            ("GET", ["STU3", "Slot"]) => Self::RetrieveSlots,
            ("POST", ["STU3", "Appointment"]) => Self::BookOrDefer,
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.generateCRI"]) => {
                Self::ClinicalInformation { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.generatePatientLetter"]) => {
                Self::GenerateLetter { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "Binary"]) => Self::UploadFile,
            ("GET", ["STU3", "Binary", id]) => Self::RetrieveAttachmentStu3 { id: (*id).into() },
            ("GET", ["STU3", "CommunicationRequest", ubrn]) => {
                Self::RetrieveAdvice { ubrn: (*ubrn).into(), version: None }
            }
            ("GET", ["STU3", "CommunicationRequest", ubrn, "_history", version]) => {
                Self::RetrieveAdvice { ubrn: (*ubrn).into(), version: Some((*version).into()) }
            }
            ("GET", ["STU3", "Communication"]) => Self::AdviceConversation,
            ("GET", ["STU3", "Task"]) => Self::AvailableActions,
            ("GET", ["R4", "PractitionerRole"]) => Self::BusinessFunctions,
            ("GET", ["R4", "HealthcareService", id]) => Self::RetrieveService { id: (*id).into() },
            ("GET", ["R4", "HealthcareService"]) => Self::RetrieveServices,
            ("HEAD", ["R4", "HealthcareService", id]) => Self::ServiceVersion { id: (*id).into() },
            ("PUT", ["STU3", "Appointment", id]) => Self::UpdateAppointment { id: (*id).into() },
            ("GET", ["STU3", "Appointment", id]) => Self::RetrieveAppointment { id: (*id).into(), version: None },
            ("GET", ["STU3", "Appointment", id, "_history", version]) => {
                Self::RetrieveAppointment { id: (*id).into(), version: Some((*version).into()) }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.changeShortlist"]) => {
                Self::ChangeShortlist { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.changeShortlistAndSendForTriage"]) => {
                Self::ChangeAndSendForTriage { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "ReferralRequest", ubrn, "$ers.cancelReferral"]) => {
                Self::CancelReferral { ubrn: (*ubrn).into() }
            }
            ("GET", ["R4", "ServiceRequest"]) => Self::SearchRequests,
            ("GET", ["R4", "Binary", id]) => Self::RetrieveAttachment { id: (*id).into() },
            ("POST", ["STU3", "CommunicationRequest", ubrn, "$ers.generateCRI"]) => {
                Self::AdviceOverview { ubrn: (*ubrn).into() }
            }
            ("POST", ["STU3", "CommunicationRequest", "$ers.createAdviceAndGuidance"]) => Self::CreateAdvice,
            _ => return None,
        })
    }

    pub fn operation(&self) -> &'static Operation {
        match self {
            Self::RetrieveReferenceData { .. } => &A004,
            Self::RetrieveReferral { .. } => &A005,
            Self::RetrieveAttachmentStu3 { .. } => &A006,
            Self::FetchWorklist => &A008,
            Self::SearchServices => &A010,
            Self::CreateReferral => &A011,
            Self::MaintainLetter { .. } => &A012,
            Self::AcceptReferral { .. } => &A013,
            Self::RejectReferral { .. } => &A014,
            Self::RetrieveSlots => &A015,
            Self::BookOrDefer => &A016,
            Self::ClinicalInformation { .. } => &A007,
            Self::GenerateLetter { .. } => &A019,
            Self::UploadFile => &A020,
            Self::CreateForTriage => &A021,
            Self::CancelActionLater { .. } => &A022,
            Self::AdviceWorklist => &A023,
            Self::RetrieveAdvice { .. } => &A024,
            Self::AdviceConversation => &A025,
            Self::SendAdviceResponse { .. } => &A026,
            Self::ConvertAdvice => &A027,
            Self::RecordReviewOutcome { .. } => &A028,
            Self::AvailableActions => &A029,
            Self::BusinessFunctions => &A030,
            Self::RetrieveService { .. } => &A033,
            Self::RetrieveServices => &A035,
            Self::ServiceVersion { .. } => &A037,
            Self::UpdateAppointment { .. } => &A034,
            Self::RetrieveAppointment { .. } => &A038,
            Self::ChangeShortlist { .. } => &A031,
            Self::ChangeAndSendForTriage { .. } => &A032,
            Self::CancelReferral { .. } => &A036,
            Self::OnBehalfOf => &A040,
            Self::SearchRequests => &A041,
            Self::RetrieveAttachment { .. } => &A042,
            Self::AdviceOverview { .. } => &A043,
            Self::CreateAdvice => &A044,
        }
    }

    /// The UBRN that the call names in its path, in what its body refers to or in a header; not one in a query.
    pub fn ubrn(&self, call: &Call, body: &Value) -> Option<Ubrn> {
        match self {
            Self::RetrieveReferral { ubrn, .. }
            | Self::MaintainLetter { ubrn }
            | Self::ClinicalInformation { ubrn }
            | Self::GenerateLetter { ubrn }
            | Self::RetrieveAdvice { ubrn, .. }
            | Self::ChangeShortlist { ubrn }
            | Self::ChangeAndSendForTriage { ubrn }
            | Self::CancelReferral { ubrn }
            | Self::AcceptReferral { ubrn }
            | Self::RejectReferral { ubrn }
            | Self::CancelActionLater { ubrn }
            | Self::RecordReviewOutcome { ubrn }
            | Self::SendAdviceResponse { ubrn }
            | Self::AdviceOverview { ubrn } => Ubrn::parse(ubrn),
            Self::BookOrDefer | Self::UpdateAppointment { .. } => {
                let reference = body["incomingReferral"][0]["reference"].as_str()?;
                reference_parts(reference).map(|(ubrn, _)| ubrn)
            }
            Self::ConvertAdvice => {
                let mut parts = body["parameter"].as_array()?.iter();
                let from = parts.find(|part| part["name"] == "createFrom")?;
                created_from(from["valueReference"]["reference"].as_str()?).and_then(|(ubrn, _)| Ubrn::parse(ubrn))
            }
            Self::UploadFile => call.header("NHSD-eRS-Referral-ID").and_then(Ubrn::parse),
            _ => None,
        }
    }

    pub fn perform(&self, act: &Act<'_>) -> Result<Answer, Refusal> {
        match self {
            Self::RetrieveReferenceData { key } => a004_reference_data::answer(act, key),
            Self::RetrieveReferral { ubrn, version } => a005_retrieve_referral::answer(act, ubrn, version.as_deref()),
            Self::RetrieveAttachmentStu3 { id } => a006_retrieve_attachment_stu3::answer(act, id),
            Self::FetchWorklist => a008_worklist::answer(act),
            Self::SearchServices => a010_search_services::answer(act),
            Self::CreateReferral => a011_create_referral::answer(act),
            Self::MaintainLetter { ubrn } => a012_maintain_letter::answer(act, ubrn),
            Self::AcceptReferral { ubrn } => a013_accept_referral::answer(act, ubrn),
            Self::RejectReferral { ubrn } => a014_reject_referral::answer(act, ubrn),
            Self::RetrieveSlots => a015_retrieve_slots::answer(act),
            Self::BookOrDefer => a016_book_or_defer::answer(act),
            Self::ClinicalInformation { ubrn } => a007_clinical_information::answer(act, ubrn),
            Self::GenerateLetter { ubrn } => a019_generate_letter::answer(act, ubrn),
            Self::UploadFile => a020_upload_file::answer(act),
            Self::CreateForTriage => a021_create_for_triage::answer(act),
            Self::CancelActionLater { ubrn } => a022_cancel_action_later::answer(act, ubrn),
            Self::AdviceWorklist => a023_advice_worklist::answer(act),
            Self::RetrieveAdvice { ubrn, version } => a024_retrieve_advice::answer(act, ubrn, version.as_deref()),
            Self::AdviceConversation => a025_advice_conversation::answer(act),
            Self::SendAdviceResponse { ubrn } => a026_send_advice_response::answer(act, ubrn),
            Self::ConvertAdvice => a027_convert_advice::answer(act),
            Self::RecordReviewOutcome { ubrn } => a028_record_review_outcome::answer(act, ubrn),
            Self::AvailableActions => a029_available_actions::answer(act),
            Self::BusinessFunctions => a030_business_functions::answer(act),
            Self::RetrieveService { id } => a033_services::one(act, id, true),
            Self::RetrieveServices => a033_services::several(act),
            Self::ServiceVersion { id } => a033_services::one(act, id, false),
            Self::UpdateAppointment { id } => a034_update_appointment::answer(act, id),
            Self::RetrieveAppointment { id, version } => a038_retrieve_appointment::answer(act, id, version.as_deref()),
            Self::ChangeShortlist { ubrn } => a031_change_shortlist::answer(act, ubrn),
            Self::ChangeAndSendForTriage { ubrn } => a032_change_and_send_for_triage::answer(act, ubrn),
            Self::CancelReferral { ubrn } => a036_cancel_referral::answer(act, ubrn),
            Self::OnBehalfOf => a040_on_behalf_of::answer(act),
            Self::SearchRequests => a041_search_requests::answer(act),
            Self::RetrieveAttachment { id } => a042_retrieve_attachment::answer(act, id),
            Self::AdviceOverview { ubrn } => a043_advice_overview::answer(act, ubrn),
            Self::CreateAdvice => a044_create_advice::answer(act),
        }
    }
}

/// One admitted call, about to be carried out.
pub struct Act<'a> {
    pub world: &'a World,
    pub call: &'a Call,
    pub caller: &'a Caller,
    /// Null where the operation takes no JSON.
    pub body: &'a Value,
    pub now: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_operations_with_the_dollar_raw_or_encoded() {
        for (method, path, number) in [
            ("POST", "/STU3/ReferralRequest/$ers.createReferral", Some("A011")),
            ("POST", "/STU3/ReferralRequest/%24ers.createReferral", Some("A011")),
            ("GET", "/STU3/ReferralRequest/000000070000/_history/5", Some("A005")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.maintainReferralLetter", Some("A012")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.cancelReferral", Some("A036")),
            ("POST", "/STU3/ReferralRequest/$ers.createReferralAndSendForTriage", Some("A021")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.changeShortlistAndSendForTriage", Some("A032")),
            ("GET", "/R4/ServiceRequest", Some("A041")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.generateCRI", Some("A007")),
            ("GET", "/R4/Binary/att-1", Some("A042")),
            ("GET", "/STU3/Binary/att-1", Some("A006")),
            ("GET", "/STU3/Slot", Some("A015")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.acceptReferral", Some("A013")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.rejectReferral", Some("A014")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.cancelAppointmentActionLater", Some("A022")),
            ("POST", "/STU3/CommunicationRequest/$ers.fetchworklist", Some("A023")),
            ("POST", "/STU3/CommunicationRequest/000049146177/$ers.sendCommunicationToRequester", Some("A026")),
            ("POST", "/STU3/ReferralRequest/$ers.createFromCommunicationRequestActionLater", Some("A027")),
            ("POST", "/STU3/ReferralRequest/000000070000/$ers.recordReviewOutcome", Some("A028")),
            ("GET", "/R4/Practitioner", Some("A040")),
            ("PUT", "/STU3/Appointment/70000", Some("A034")),
            ("GET", "/STU3/Appointment/70000/_history/5", Some("A038")),
            ("POST", "/STU3/CommunicationRequest/000049146177/$ers.generateCRI", Some("A043")),
            ("POST", "/STU3/CommunicationRequest/$ers.createAdviceAndGuidance", Some("A044")),
            ("GET", "/STU3/Appointment", None),
            ("GET", "/", None),
        ] {
            let found = Target::of(method, path).map(|target| target.operation().number);
            assert_eq!(found, number, "{method} {path}");
        }
    }
}
