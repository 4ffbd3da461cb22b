//! The applications registered on the API platform: one client id, one access mode each.

/// `client_id` is the API key of the registration.
#[derive(Clone, Debug)]
pub struct Application {
    pub client_id: String,
    pub access: Access,
}

#[derive(Clone, Debug)]
pub enum Access {
    /// Unattended software; organisation, function and user are fixed at registration.
    ApplicationRestricted { organisation: String, context: Context, user: String, keys: Vec<PublicKey> },
    /// Acts for signed-in users.
    UserRestricted {
        client_secret: String,
        /// With which it signs when it exchanges id tokens.
        keys: Vec<PublicKey>,
        sessions: Vec<Session>,
        /// Organisations the application may name; absent: e-RS alone decides.
        organisations: Option<Vec<String>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Provider,
    Referrer,
    /// Of the Personal Demographics Service; e-RS knows it not.
    Demographics,
}

impl Context {
    pub fn business_function(self) -> &'static str {
        match self {
            Self::Provider => "PROVIDER_AUTHORISED_APPLICATION",
            Self::Referrer => "REFERRER_AUTHORISED_APPLICATION",
            Self::Demographics => "",
        }
    }
}

/// One entry of the registered JWKS.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub kid: String,
    pub pem: String,
}

/// A user who has signed in before the simulator starts.
#[derive(Clone, Debug)]
pub struct Session {
    /// SDS user id.
    pub user: String,
    /// Works once.
    pub refresh_token: String,
    pub roles: Vec<Role>,
}

/// Somebody who can sign in at the simulated identity provider.
#[derive(Clone, Debug)]
pub struct TestPerson {
    /// SDS user id.
    pub user: String,
    pub name: String,
    /// e-RS asks for 3.
    pub identity_assurance: u8,
    /// e-RS asks for 2 or 3.
    pub authenticator_assurance: u8,
    pub roles: Vec<Role>,
}

/// In a reader, with the token that a program gets of it.
#[derive(Clone, Debug)]
pub struct Smartcard {
    pub token: String,
    /// SDS user id of one of the test people.
    pub user: String,
}

/// Why e-RS will not have somebody who has signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLow {
    Identity,
    Authenticator,
}

impl TestPerson {
    pub fn too_low(&self) -> Option<TooLow> {
        match (self.identity_assurance, self.authenticator_assurance) {
            (..3, _) => Some(TooLow::Identity),
            (_, ..2) => Some(TooLow::Authenticator),
            _ => None,
        }
    }
}

/// What a user holds at one organisation.
#[derive(Clone, Debug)]
pub struct Role {
    pub organisation: String,
    pub business_functions: Vec<String>,
}
