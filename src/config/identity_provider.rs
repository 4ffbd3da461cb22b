//! The trust's own identity provider, at which people sign in to the console (OpenID Connect Core 1.0).

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::PersonRole;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// As its id tokens name it; its description is at `/.well-known/openid-configuration` below it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// `/console/sign-in/back` as browsers reach it; registered there.
    pub redirect_uri: String,
    /// Where browsers go after they signed out there; registered there.
    #[serde(default)]
    pub post_logout_redirect_uri: Option<String>,
    #[serde(default = "scope")]
    pub scope: String,
    /// The claim by which the audit log knows a person.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim that lists a person's groups.
    #[serde(default = "groups_claim")]
    pub groups_claim: String,
    pub groups: Groups,
    /// Trusted for it, instead of the CAs of this machine: PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    #[serde(default)]
    pub proxy: Option<SecretString>,
}

/// What groups are for here. Somebody in none of the first three has no account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    pub viewer: Vec<String>,
    pub operator: Vec<String>,
    pub administrator: Vec<String>,
    /// Sees what messages say as well.
    pub content: Vec<String>,
}

impl Groups {
    /// The most that these groups are for.
    pub fn role_of(&self, groups: &[String]) -> Option<PersonRole> {
        let is_in = |wanted: &[String]| groups.iter().any(|group| wanted.contains(group));
        [
            (PersonRole::Administrator, &self.administrator),
            (PersonRole::Operator, &self.operator),
            (PersonRole::Viewer, &self.viewer),
        ]
        .into_iter()
        .find_map(|(role, wanted)| is_in(wanted).then_some(role))
    }

    pub fn opens_content(&self, groups: &[String]) -> bool {
        groups.iter().any(|group| self.content.contains(group))
    }
}

impl IdentityProvider {
    /// Changes with whom it lets in, by which name and as what: sessions of before end then.
    pub fn mark(&self) -> [u8; 12] {
        let Groups { viewer, operator, administrator, content } = &self.groups;
        let lists = [viewer, operator, administrator, content].map(|list| list.join("\n"));
        let Self { issuer, client_id, name_claim, groups_claim, .. } = self;
        let said = format!("{issuer}\n{client_id}\n{name_claim}\n{groups_claim}\n{}", lists.join("\n\n"));
        let mut mark = [0; 12];
        mark.copy_from_slice(&Sha256::digest(said)[..12]);
        mark
    }
}

fn scope() -> String {
    "openid profile".to_owned()
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

fn groups_claim() -> String {
    "groups".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_with_what_is_said_of_who_is_let_in_and_with_nothing_else() {
        type Change = fn(&mut IdentityProvider);
        let settings = |change: Change| {
            let mut settings: IdentityProvider = serde_json::from_value(serde_json::json!({
                "issuer": "https://sso.trust.test", "client_id": "gateway", "client_secret": "s",
                "redirect_uri": "https://gateway.trust.test/console/sign-in/back", "groups": {"viewer": ["staff"]},
            }))
            .expect("settings");
            change(&mut settings);
            settings.mark()
        };
        let before = settings(|_| {});
        let changes: [(&str, bool, Change); 8] = [
            ("issuer", true, |settings| settings.issuer.push('x')),
            ("client_id", true, |settings| settings.client_id.push('x')),
            ("name_claim", true, |settings| settings.name_claim = "email".into()),
            ("groups_claim", true, |settings| settings.groups_claim = "roles".into()),
            ("another group", true, |settings| settings.groups.viewer.push("more".into())),
            ("the same group for more", true, |settings| {
                settings.groups.operator = std::mem::take(&mut settings.groups.viewer);
            }),
            ("client_secret", false, |settings| settings.client_secret = "another".into()),
            ("redirect_uri", false, |settings| settings.redirect_uri = "https://other.trust.test".into()),
        ];
        for (what, ends, change) in changes {
            assert_eq!(settings(change) != before, ends, "{what}");
        }
    }

    #[test]
    fn somebody_is_the_most_that_their_groups_are_for_and_in_none_nobody() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let groups = Groups {
            viewer: list(&["all staff"]),
            operator: list(&["integration", "on call"]),
            administrator: list(&["security"]),
            content: list(&["on call"]),
        };
        for (of, role, content) in [
            (&["all staff"][..], Some(PersonRole::Viewer), false),
            (&["all staff", "on call"], Some(PersonRole::Operator), true),
            (&["security", "integration"], Some(PersonRole::Administrator), false),
            (&["Security"], None, false),
            (&[], None, false),
        ] {
            let of = list(of);
            assert_eq!((groups.role_of(&of), groups.opens_content(&of)), (role, content), "{of:?}");
        }
    }
}
