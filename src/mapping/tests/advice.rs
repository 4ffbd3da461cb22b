//! Advice requests: a call that names a parameter several times.

use super::walk::walk;
use super::*;

#[test]
fn a_conversation_is_asked_for_by_its_version_with_every_include_by_name() {
    let answers = |_: &PreparedCall| answer(200, &[], json!({}));
    let command = json!({"ubrn": "000000070000", "version": "3"});
    let walk = walk(&set(), ("RetrieveAdviceConversation", &command), Some("REFERRING_CLINICIAN"), &answers);
    assert_eq!(walk.names(), ["A025"], "a version that is known is not asked for");
    assert_eq!(
        walk.calls[0].path,
        "/STU3/Communication?based-on=CommunicationRequest/000000070000/_history/3\
         &_include=Communication%3Arequester-practitionerrole%3APractitionerRole\
         &_include=Communication%3Asender-practitionerrole%3APractionerRole\
         &_include=Communication%3Acontent-reference%3ADocumentReference"
    );
}
