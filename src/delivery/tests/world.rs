//! A gateway's inside for one test: store, mappings, delivery; time is simulated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Registry;
use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;

use super::fake_ers::{FakeErs, TOKEN_URL};
use crate::command::{Class, CommandId, Estimate, MessageId, State, Verdict};
use crate::config::{
    self, Access, Connection, ExchangeKey, Mode, Pacing, ProfessionalSession, RefreshToken, SignIn, SignedJwt, Source,
    Unattended, Watch,
};
use crate::delivery::{Delivery, DeliveryMetrics, DeliveryParts, Estimator, Hands, Sources};
use crate::environment::Environment;
use crate::ers::specification::Checked;
use crate::ers::{Role, Transport, Ways};
use crate::inbound::poll::{self, Poll};
use crate::instances::Duty;
use crate::keys::Keys;
use crate::mapping::{MappingSet, MappingSets, command_schema};
use crate::sign_in::{Arrived, Desk, DeskError, People};
use crate::simulator::{Quota, Simulator, SimulatorConfig, SimulatorHandle, demonstration};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    self, Act, Admission, Alias, AliasKind, AttemptView, CommandView, ContentStore as _, IntakeStore as _,
    KeptDocument, NewCommand, NewDocument, NewMessage, OperatorStore as _, OutboxStore as _, SearchStore as _, Store,
    StoredEvent,
};
use crate::waiting::Waiting;

pub struct World {
    pub environment: Environment,
    pub store: Arc<SqliteStore>,
    pub ers: Arc<FakeErs>,
    pub sources: watch::Sender<Arc<Sources>>,
    pub registry: Registry,
    set: Arc<MappingSet>,
    keys: Keys,
    folder: Arc<TempDir>,
    settings: config::Delivery,
    connection: Connection,
    /// Beside it.
    others: Vec<Connection>,
    pds: Option<config::Pds>,
    /// In the place of `ers`.
    simulator: Option<Arc<SimulatorHandle>>,
    /// With requests that the specification of e-RS does not allow.
    wrong: Arc<Mutex<Vec<String>>>,
    /// Of the delivery that runs.
    estimator: Mutex<Option<Estimator>>,
    desk: Mutex<Option<(Arc<Desk>, Arc<Waiting>)>>,
}

/// A command of a backlog.
pub struct Queued {
    pub name: &'static str,
    pub local_id: String,
    pub class: Class,
    pub body: Value,
}

/// What a test may want otherwise.
pub struct Wanted {
    pub settings: config::Delivery,
    pub connection: Connection,
    pub pds: Option<config::Pds>,
}

impl Default for Wanted {
    fn default() -> Self {
        let pacing = Pacing { enabled: false, ..Pacing::default() };
        Self {
            settings: config::Delivery { pacing, ..config::Delivery::default() },
            connection: user_restricted(),
            pds: None,
        }
    }
}

pub fn user_restricted() -> Connection {
    Connection {
        name: "ers".into(),
        base_url: "https://ers.test/FHIR".into(),
        code_system_base: None,
        token_url: TOKEN_URL.into(),
        client_id: "client".into(),
        proxy: None,
        ca: None,
        access: Access::UserRestricted(RefreshToken {
            client_secret: "secret".into(),
            refresh_token: Some("seed".into()),
            organisation: "R69".into(),
            business_function: "REFERRING_CLINICIAN".into(),
            on_behalf_of: None,
            user: None,
        }),
    }
}

fn connection_to(simulator: &SimulatorHandle) -> Connection {
    let mut connection = user_restricted();
    connection.base_url = simulator.base_url().into();
    connection.token_url = simulator.token_url().into();
    connection.client_id = demonstration::USER_CLIENT_ID.into();
    if let Access::UserRestricted(user) = &mut connection.access {
        user.client_secret = demonstration::USER_CLIENT_SECRET.into();
        user.refresh_token = Some(demonstration::REFRESH_TOKEN.into());
    }
    connection
}

/// The only source, with its defaults but for a change.
fn sources(change: impl FnOnce(&mut Source)) -> Arc<Sources> {
    let text = json!({ "name": "northmoor", "connection": "ers" });
    let mut source: Source = serde_json::from_value(text).expect("a source with its defaults");
    source.follow_scans = false;
    change(&mut source);
    Arc::new([(source.name.clone(), source)].into())
}

impl World {
    /// Everything is there; delivery does not run yet.
    pub async fn new(wanted: Wanted) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder for the test"));
        Self::open(folder.path().join("gateway.db"), Self::environment(), folder, Arc::default(), wanted).await
    }

    pub async fn started() -> Self {
        let world = Self::new(Wanted::default()).await;
        world.start();
        world
    }

    fn environment() -> Environment {
        Environment::simulated(7, "2026-03-16T09:30:00Z".parse().expect("a literal instant"))
    }

    async fn open(
        path: PathBuf,
        environment: Environment,
        folder: Arc<TempDir>,
        ers: Arc<FakeErs>,
        wanted: Wanted,
    ) -> Self {
        let store = Arc::new(SqliteStore::open(path, &environment).await.expect("a store"));
        let keys = Keys::load_or_create(&folder.path().join("gateway.key"), &environment).expect("a key file");
        let set = crate::mapping::tests::set();
        let (sources, _) = watch::channel(sources(|_| {}));
        let registry = Registry::new();
        let Wanted { settings, connection, pds } = wanted;
        Self {
            environment,
            store,
            ers,
            sources,
            registry,
            set,
            keys,
            folder,
            settings,
            connection,
            others: Vec::new(),
            pds,
            simulator: None,
            wrong: Arc::default(),
            estimator: Mutex::default(),
            desk: Mutex::default(),
        }
    }

    /// Delivery runs against the simulator, in the name of a user with this business function.
    pub async fn started_before_the_simulator(business_function: &str) -> Self {
        Self::started_as(business_function, SimulatorConfig::default()).await
    }

    /// The same with what the simulator offers.
    pub async fn started_as(business_function: &str, config: SimulatorConfig) -> Self {
        Self::connected_to_the_simulator(config, |connection, _| {
            if let Access::UserRestricted(user) = &mut connection.access {
                user.business_function = business_function.into();
            }
        })
        .await
    }

    /// The same without a user, as a provider's application that may make these writes.
    pub async fn started_unattended(unattended: Vec<Unattended>) -> Self {
        Self::connected_to_the_simulator(SimulatorConfig::default(), |connection, folder| {
            let private_key = folder.join("unattended.pem");
            std::fs::write(&private_key, demonstration::PRIVATE_KEY_PEM).expect("a key file");
            connection.client_id = demonstration::PROVIDER_CLIENT_ID.into();
            let kid = demonstration::KEY_ID.into();
            connection.access = Access::ApplicationRestricted(SignedJwt { private_key, kid, unattended });
        })
        .await
    }

    /// The same in a professional session of a smartcard, at the retired interface.
    pub async fn started_by_smartcard(change: impl FnOnce(&mut ProfessionalSession)) -> Self {
        Self::connected_to_the_simulator(SimulatorConfig::default(), |connection, _| {
            let mut session = ProfessionalSession {
                asid: demonstration::ASID.into(),
                smartcard_token: Some(demonstration::SMARTCARD_TOKEN.into()),
                organisation: "R69".into(),
                business_function: "REFERRING_CLINICIAN".into(),
                user: demonstration::USER.into(),
            };
            change(&mut session);
            connection.code_system_base = Some(connection.base_url.clone());
            connection.base_url = connection.base_url.replace("/referrals/FHIR", "/ers-api");
            connection.token_url = format!("{}/v1/ProfessionalSession", connection.base_url);
            connection.client_id.clone_from(&session.asid);
            connection.access = Access::ProfessionalSession(session);
        })
        .await
    }

    /// The same store, and another token of a smartcard.
    pub async fn with_smartcard(&self, token: Option<&str>) -> Self {
        let mut connection = self.connection.clone();
        if let Access::ProfessionalSession(session) = &mut connection.access {
            session.smartcard_token = token.map(Into::into);
        }
        self.reconfigured_and_restarted(connection).await
    }

    async fn connected_to_the_simulator(config: SimulatorConfig, change: impl FnOnce(&mut Connection, &Path)) -> Self {
        let mut world = Self::new(Wanted::default()).await;
        // Longer than any test, so that nobody has to sign in again.
        let lifetime = Duration::from_secs(30 * 24 * 3_600);
        let config = SimulatorConfig { refresh_token_lifetime: lifetime, ..config };
        let simulator = Simulator::in_process(config, world.environment.clone());
        world.connection = connection_to(&simulator);
        change(&mut world.connection, world.folder.path());
        world.simulator = Some(Arc::new(simulator));
        world.start();
        world
    }

    /// e-RS is the simulator with the limits of production, and calls leave at the pace that is meant for it. Delivery
    /// does not run yet.
    pub async fn before_the_real_limits() -> Self {
        let mut world = Self::new(Wanted { settings: config::Delivery::default(), ..Wanted::default() }).await;
        let lifetime = Duration::from_secs(30 * 24 * 3_600);
        let config = SimulatorConfig {
            refresh_token_lifetime: lifetime,
            quota: Some(Quota::PRODUCTION),
            ..SimulatorConfig::default()
        };
        let simulator = Simulator::in_process(config, world.environment.clone());
        world.connection = connection_to(&simulator);
        world.simulator = Some(Arc::new(simulator));
        world
    }

    /// The same for a referring clinician, and the simulator's PDS is asked who a patient is.
    pub async fn started_with_patient_check(keep_finding: Duration) -> Self {
        let mut world = Self::new(Wanted::default()).await;
        let simulator = Simulator::in_process(SimulatorConfig::default(), world.environment.clone());
        world.connection = connection_to(&simulator);
        world.asks_pds(&simulator, keep_finding);
        world.simulator = Some(Arc::new(simulator));
        world.start();
        world
    }

    /// People sign in at the simulator, and the only source has that connection, `people`, and these beside it.
    pub async fn among_people(change: impl FnOnce(&mut Source), others: Vec<Connection>) -> Self {
        Self::among_people_with(change, others, false).await
    }

    /// The same; patients are checked.
    pub async fn among_people_with(change: impl FnOnce(&mut Source), others: Vec<Connection>, asks_pds: bool) -> Self {
        let mut world = Self::new(Wanted::default()).await;
        let simulator = Simulator::in_process(SimulatorConfig::default(), world.environment.clone());
        if asks_pds {
            world.asks_pds(&simulator, Duration::from_secs(300));
        }
        let at_simulator = |connection: Connection| Connection {
            base_url: simulator.base_url().into(),
            token_url: simulator.token_url().into(),
            ..connection
        };
        let private_key = world.folder.path().join("exchange.pem");
        std::fs::write(&private_key, demonstration::PRIVATE_KEY_PEM).expect("a key file");
        world.connection = at_simulator(Connection {
            name: "people".into(),
            client_id: demonstration::USER_CLIENT_ID.into(),
            access: Access::SignIn(SignIn {
                client_secret: demonstration::USER_CLIENT_SECRET.into(),
                authorize_url: simulator.authorize_url(),
                userinfo_url: Some(simulator.userinfo_url()),
                issuer: None,
                redirect_uri: "http://127.0.0.1:1/v1/sign-in/callback".into(),
                scope: None,
                organisations: vec!["R69".into()],
                business_functions: Vec::new(),
                announce_end: Duration::from_secs(1_800),
                exchange: Some(ExchangeKey { private_key, kid: demonstration::KEY_ID.into() }),
            }),
            ..user_restricted()
        });
        world.others = others.into_iter().map(at_simulator).collect();
        let names = world.others.iter().map(|connection| connection.name.clone());
        let names: Vec<String> = ["people".to_owned()].into_iter().chain(names).collect();
        world.set_source(|source| {
            (source.connection, source.several_connections) = (None, names);
            change(source);
        });
        world.simulator = Some(Arc::new(simulator));
        world.start();
        world
    }

    /// What a connection without a user needs beside the simulator's addresses.
    pub fn unattended(folder: &Path, unattended: Vec<Unattended>) -> Connection {
        let private_key = folder.join("unattended.pem");
        std::fs::write(&private_key, demonstration::PRIVATE_KEY_PEM).expect("a key file");
        Connection {
            name: "unattended".into(),
            client_id: demonstration::PROVIDER_CLIENT_ID.into(),
            access: Access::ApplicationRestricted(SignedJwt {
                private_key,
                kid: demonstration::KEY_ID.into(),
                unattended,
            }),
            ..user_restricted()
        }
    }

    /// Its files, as they are now.
    pub fn store_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).expect("the test's folder");
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths.filter(|path| path.to_string_lossy().contains("gateway.db")).collect()
    }

    pub fn desk(&self) -> Arc<Desk> {
        self.desk.lock().as_ref().expect("delivery runs").0.clone()
    }

    /// Who is signed in, as another gateway on the same store sees it.
    pub fn another_instance(&self) -> People {
        People::new(
            std::slice::from_ref(&self.connection),
            self.store.clone(),
            self.keys.clone(),
            Ways::of(&[], self.checked(self.simulator())).expect("nothing of its own"),
            self.environment.clone(),
        )
    }

    pub fn waiting(&self) -> Arc<Waiting> {
        self.desk.lock().as_ref().expect("delivery runs").1.clone()
    }

    /// A browser of its own goes to sign in, as this person, and comes back.
    pub async fn comes_back_as(&self, user: &str) -> Result<Arrived, DeskError> {
        let sent = self.desk().begin("people", "/").await.expect("sent to sign in");
        let (state, brought) = self.visit(&format!("{}&person={user}", sent.location)).await;
        let brought = brought.as_ref().map(String::as_str).map_err(String::as_str);
        self.desk().come_back(Some(&sent.browser), &state, brought, "a test").await
    }

    /// State and code that the identity provider sends a browser back with; or its error.
    pub async fn visit(&self, way: &str) -> (String, Result<String, String>) {
        let request = crate::ers::Request {
            method: "GET".into(),
            url: way.into(),
            headers: Vec::new(),
            body: crate::ers::Body::Empty,
            timeout: Duration::from_secs(10),
        };
        let answer = self.simulator().transport().send(request).await.expect("an answer");
        assert_eq!(answer.status, 302, "{:?}", answer.body);
        let back = answer.header("location").expect("a way back").to_owned();
        let back = reqwest::Url::parse(&back).expect("an address");
        let said = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        (said("state").unwrap_or_default(), said("code").ok_or_else(|| said("error").unwrap_or_default()))
    }

    /// Signed in, as a referring clinician of R69.
    pub async fn signs_in(&self, user: &str) -> Arrived {
        let mut arrived = self.comes_back_as(user).await.expect("signed in");
        let role =
            Role { organisation: "R69".into(), business_function: "REFERRING_CLINICIAN".into(), on_behalf_of: None };
        arrived.person = self.desk().choose(&arrived.person, role, "a test").await.expect("offered");
        arrived
    }

    /// Patients are checked by the simulator's PDS, from the next start on.
    pub fn asks_pds(&mut self, simulator: &SimulatorHandle, keep_finding: Duration) {
        let key = self.folder.path().join("pds.pem");
        std::fs::write(&key, demonstration::PRIVATE_KEY_PEM).expect("a key file");
        self.pds = Some(config::Pds {
            base_url: simulator.base_url().replace("/referrals/FHIR", "/personal-demographics/FHIR/R4"),
            token_url: simulator.token_url().into(),
            client_id: demonstration::PDS_CLIENT_ID.into(),
            private_key: key,
            kid: demonstration::KEY_ID.into(),
            organisation: Some("RXX00".into()),
            keep_finding,
            per_second: 5.0,
        });
    }

    pub fn simulator(&self) -> &SimulatorHandle {
        self.simulator.as_ref().expect("started before the simulator")
    }

    pub fn start(&self) -> Hands {
        self.start_on(self.store.clone())
    }

    /// With a store that stands before the real one.
    pub fn start_on(&self, store: Arc<dyn Store>) -> Hands {
        match &self.simulator {
            Some(simulator) => self.start_with(store, self.checked(simulator)),
            None => self.start_with(store, self.ers.clone()),
        }
    }

    /// e-RS is the simulator, in process and on the same clock; delivery runs.
    pub async fn with_simulator(config: SimulatorConfig) -> (Self, SimulatorHandle) {
        let mut world = Self::new(Wanted::default()).await;
        let simulator = Simulator::in_process(config, world.environment.clone());
        world.connection = connection_to(&simulator);
        world.start_with(world.store.clone(), world.checked(&simulator));
        (world, simulator)
    }

    /// The way to the simulator; what passes must be as specified.
    fn checked(&self, simulator: &SimulatorHandle) -> Arc<dyn Transport> {
        let base_url = simulator.base_url().to_owned();
        Arc::new(Checked { inner: simulator.transport(), base_url, wrong: self.wrong.clone() })
    }

    fn start_with(&self, store: Arc<dyn Store>, transport: Arc<dyn Transport>) -> Hands {
        let parts = DeliveryParts {
            environment: self.environment.clone(),
            store,
            mappings: Arc::new(MappingSets::new(self.set.clone())),
            transport,
            keys: self.keys.clone(),
            connections: [&[self.connection.clone()][..], &self.others].concat(),
            pds: self.pds.clone(),
            sources: self.sources.subscribe(),
            settings: self.settings.clone(),
            instance: "test".into(),
            metrics: DeliveryMetrics::register(&self.registry).expect("registered once"),
            traces: crate::telemetry::Traces::default(),
        };
        let delivery = Delivery::new(parts).expect("no key to read");
        let hands = delivery.hands();
        *self.estimator.lock() = Some(delivery.estimator());
        let people = delivery.people();
        let (asker, audit) = (Arc::new(delivery.asker()), self.store.clone());
        let desk = Desk::register(people.clone(), asker, audit, &Registry::new()).expect("registered once");
        let waiting = Waiting {
            store: self.store.clone(),
            search: self.store.clone(),
            people,
            asker: delivery.asker(),
            sources: self.sources.subscribe(),
            environment: self.environment.clone(),
        };
        *self.desk.lock() = Some((Arc::new(desk), Arc::new(waiting)));
        self.environment.spawn(delivery.run());
        hands
    }

    /// The worklists of the simulator are looked at by themselves, by an instance of this name, until it is dropped.
    pub fn watch(&self, instance: &str, watches: Vec<Watch>) -> Environment {
        let stage = self.environment.stage();
        self.set_sources(watches.iter().map(Watch::as_source));
        let looks = poll::metrics(&Registry::new()).expect("registered once");
        Poll {
            watches,
            store: self.store.clone(),
            keys: self.keys.clone(),
            mappings: Arc::new(MappingSets::new(self.set.clone())),
            duty: Duty::new(self.store.clone(), "watches", instance, &stage),
            looks,
            environment: stage.clone(),
        }
        .start();
        stage
    }

    /// Beside the one that is there.
    fn set_sources(&self, more: impl Iterator<Item = Source>) {
        let mut sources = (**self.sources.borrow()).clone();
        sources.extend(more.map(|source| (source.name.clone(), source)));
        self.sources.send_replace(Arc::new(sources));
    }

    /// What is on disk now, as a new process finds it after this one was killed. e-RS is the same.
    pub async fn killed_and_restarted(&self) -> Self {
        self.reconfigured_and_restarted(self.connection.clone()).await
    }

    /// The same store, and a user with another business function.
    pub async fn with_function(&self, business_function: &str) -> Self {
        let mut connection = self.connection.clone();
        if let Access::UserRestricted(user) = &mut connection.access {
            user.business_function = business_function.into();
        }
        self.reconfigured_and_restarted(connection).await
    }

    /// The same with another connection in the configuration.
    pub async fn reconfigured_and_restarted(&self, connection: Connection) -> Self {
        let path = self.folder.path().join(format!("{}.db", self.environment.random_id()));
        self.store.backup(&path).await.expect("a copy");
        let wanted = Wanted { settings: self.settings.clone(), connection, pds: self.pds.clone() };
        let mut world = Self::open(path, Self::environment(), self.folder.clone(), self.ers.clone(), wanted).await;
        world.simulator.clone_from(&self.simulator);
        world.sources.send_replace(self.sources.borrow().clone());
        world.start();
        world
    }

    pub fn set_mode(&self, mode: Mode) {
        self.set_source(|source| source.mode = mode);
    }

    pub fn set_source(&self, change: impl FnOnce(&mut Source)) {
        self.sources.send_replace(sources(change));
    }

    /// A referral as intake would admit it.
    pub async fn admit(&self, local_id: &str) -> CommandId {
        self.admit_as("CreateReferral", local_id, json!({}), b"{}", Vec::new()).await
    }

    pub async fn admit_as(
        &self,
        name: &str,
        local_id: &str,
        more: Value,
        raw: &'static [u8],
        documents: Vec<NewDocument>,
    ) -> CommandId {
        self.admit_command(name, local_id, more, raw, documents, |_| {}).await
    }

    pub async fn admit_command(
        &self,
        name: &str,
        local_id: &str,
        more: Value,
        raw: &'static [u8],
        documents: Vec<NewDocument>,
        change: impl FnOnce(&mut NewCommand),
    ) -> CommandId {
        let mut body = match name {
            "CreateReferral" => json!({
                "patient": { "nhsNumber": "9994120034" },
                "priority": "ROUTINE",
                "shortlist": [{ "service": "11002" }],
                "letterIntention": "NOT_INTENDING_TO_ADD",
                "firstReminderDays": 7,
            }),
            _ => json!({}),
        };
        let fields = body.as_object_mut().expect("a literal object");
        // Some reads are about no referral.
        if command_schema(name).is_some_and(|schema| schema["properties"]["localId"].is_object()) {
            fields.insert("localId".into(), local_id.into());
        }
        fields.extend(more.as_object().expect("a literal object").clone());
        let id = CommandId(self.environment.new_id());
        let now = self.environment.now();
        let digest_of = |kind, parts: &[&str]| Alias { kind, digest: self.keys.alias_digest(kind, parts) };
        let by_local_id = digest_of(AliasKind::LocalId, &["northmoor", local_id]);
        // As intake does: a read knows its referral when it comes, and stands in a thread of its own.
        let is_read = self.set.plan(name).expect("a plan").is_read();
        let (class, alias, not_after) = if is_read {
            let known = self.store.find_thread(&by_local_id).await.expect("readable");
            if let Some(ubrn) = known.and_then(|known| known.known.get("ubrn").cloned()) {
                body["ubrn"] = ubrn;
            }
            let deadline = now + self.settings.read_deadline;
            (Class::Interactive, digest_of(AliasKind::Command, &[&id.to_string()]), Some(deadline))
        } else {
            (Class::Routine, by_local_id, None)
        };
        let violations = self.set.schemas().violations(name, &body);
        assert!(violations.is_empty(), "{violations:?}");
        let creates = (name == "CreateReferral").then(|| Sha256::digest(body.to_string()).into());
        let mut command = NewCommand {
            id,
            name: name.into(),
            body,
            class,
            aliases: vec![alias],
            creates,
            mapping_set: self.set.digest().to_owned(),
            state: State::Queued,
            plan: Value::Null,
            not_after,
        };
        change(&mut command);
        let admission = Admission { documents, ..self.admission(vec![command], raw) };
        self.store.admit(admission).await.expect("admitted");
        id
    }

    /// A backlog, in this order; what comes in one message is on disk at once.
    pub async fn admit_all(&self, backlog: Vec<Queued>) -> Vec<CommandId> {
        let mut ids = Vec::with_capacity(backlog.len());
        let mut backlog = backlog.into_iter().peekable();
        while backlog.peek().is_some() {
            let mut commands = Vec::new();
            for queued in backlog.by_ref().take(100) {
                let id = CommandId(self.environment.new_id());
                let digest = self.keys.alias_digest(AliasKind::LocalId, &["northmoor", &queued.local_id]);
                commands.push(NewCommand {
                    id,
                    name: queued.name.into(),
                    body: queued.body,
                    class: queued.class,
                    aliases: vec![Alias { kind: AliasKind::LocalId, digest }],
                    creates: None,
                    mapping_set: self.set.digest().to_owned(),
                    state: State::Queued,
                    plan: Value::Null,
                    not_after: None,
                });
                ids.push(id);
            }
            self.environment.sleep(Duration::from_secs(1)).await;
            self.store.admit(self.admission(commands, b"{}")).await.expect("admitted");
        }
        ids
    }

    fn admission(&self, commands: Vec<NewCommand>, raw: &'static [u8]) -> Admission {
        let message = NewMessage {
            id: MessageId(self.environment.new_id()),
            source: "northmoor".into(),
            transport: store::Transport::Http,
            control_id: None,
            received_at: self.environment.now(),
            sha256: Sha256::digest(raw).into(),
            charset: "UTF-8".into(),
            kind: commands.first().map(|command| command.name.clone()).unwrap_or_default(),
            raw: raw.into(),
            problems: Value::Null,
        };
        Admission {
            message,
            verdict: Verdict::Accepted,
            acknowledgement: Default::default(),
            commands,
            documents: Vec::new(),
            events: Vec::new(),
            patients: Vec::new(),
            taken_again: None,
        }
    }

    /// When it will be sent, as its sender is told.
    pub async fn estimate(&self, id: CommandId) -> Estimate {
        let command = self.command(id).await;
        self.estimator.lock().as_ref().expect("delivery runs").estimate(&command)
    }

    pub async fn command(&self, id: CommandId) -> CommandView {
        self.store.command(id).await.expect("readable").expect("admitted before")
    }

    /// Waits, in simulated time, until the command is in that state.
    pub async fn until(&self, id: CommandId, state: &str) -> CommandView {
        for turn in 0..2_000 {
            let command = self.command(id).await;
            assert_eq!(*self.wrong.lock(), Vec::<String>::new(), "requests that are not as specified");
            if command.state.name() == state {
                return command;
            }
            self.environment.sleep(Duration::from_millis(if turn < 300 { 100 } else { 5_000 })).await;
        }
        let command = self.command(id).await;
        let why = self.store.transitions(id).await.expect("readable");
        panic!("{state} was expected, it is {:?}: {why:?}", command.state);
    }

    /// A person releases a failed command.
    /// As somebody who goes past the gateway.
    pub fn tamper(&self, sql: &str) {
        let path = self.folder.path().join("gateway.db");
        rusqlite::Connection::open(path).expect("a second connection").execute_batch(sql).expect("tampered");
    }

    pub async fn replay(&self, id: CommandId) {
        let act = Act::of_person("a person", "a test", "looked at it", self.now());
        self.store.replay(id, act).await.expect("released");
    }

    /// A person sets a command aside.
    pub async fn discard(&self, id: CommandId) {
        let act = Act::of_person("a person", "a test", "not wanted", self.now());
        self.store.discard(id, act).await.expect("set aside");
    }

    pub async fn rest(&self, duration: Duration) {
        self.environment.sleep(duration).await;
    }

    /// What e-RS answered to a command's last call, which was a document.
    pub async fn document(&self, command: CommandId) -> Bytes {
        let attempts = self.attempts(command).await;
        let last = attempts.last().expect("a call");
        assert!(last.response["body"]["document"].is_object(), "its bytes are not in its row: {}", last.response);
        let kept = KeptDocument::of(last.id, &last.response).expect("a document");
        kept.whole(self.store.as_ref(), command).await.expect("all of it")
    }

    pub async fn attempts(&self, id: CommandId) -> Vec<AttemptView> {
        self.store.attempts(id).await.expect("readable")
    }

    pub async fn events(&self) -> Vec<StoredEvent> {
        self.store.events_after(0, 1_000).await.expect("readable")
    }

    pub async fn event_names(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.name).collect()
    }

    /// Why it came into each of its states.
    pub async fn reasons(&self, id: CommandId) -> Vec<String> {
        self.store.transitions(id).await.expect("readable").into_iter().map(|row| row.why).collect()
    }

    pub fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// The whole raw message of a command.
    pub async fn raw(&self, id: CommandId) -> bytes::Bytes {
        let message = self.command(id).await.message;
        self.store.read_message(message, 0..u64::MAX).await.expect("readable")
    }
}
