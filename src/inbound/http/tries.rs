//! How often an address may do what needs no right: ask without a token that opens anything, and begin a sign-in.
//!
//! Enters: who is at the other end. Leaves: that it may, or in how long. Guarantees: whoever shows a right token is never held
//! back, whatever others of its address do (a hospital may stand behind one); the memory for it is bounded, whoever comes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use parking_lot::Mutex;
use prometheus::{IntCounterVec, Opts};
use tokio::time::Instant;

use super::place_of;
use super::problem::ProblemDocument;
use crate::metrics::Registry;

/// Requests without a token that opens anything: so many at once, and then one a second. A program with an old token still
/// hears why, and a scanner does not fill the log.
const TOKENS: Allowance = Allowance { at_once: 200, every: Duration::from_secs(1) };
/// Sign-ins on their way: so many at once, and then 100 in the ten minutes that one has. One that comes to its end does not
/// count, so that only those that nobody finishes are held back.
const SIGN_INS: Allowance = Allowance { at_once: 100, every: Duration::from_secs(6) };
/// Of each kind; beyond, the half that has tried least is forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    Token,
    SignIn,
    /// On the console's way to the identity provider, of which nothing is kept here.
    ConsoleSignIn,
}

impl Try {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::SignIn => "sign_in",
            Self::ConsoleSignIn => "console_sign_in",
        }
    }
}

/// Tried too often: not now, but in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    pub wait: Duration,
}

impl HeldBack {
    /// As `Retry-After` says it: at least one second.
    pub fn seconds(self) -> u64 {
        self.wait.as_secs_f64().ceil().max(1.0) as u64
    }

    pub fn problem(self) -> ProblemDocument {
        let text =
            "Too much came from this address without a right: wait, and look whether the token is the right one.";
        ProblemDocument::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", "This address tries too often", text)
            .retry_after(self.seconds())
    }
}

/// Of one gateway: its listeners share it.
pub struct Tries {
    tokens: Addresses,
    sign_ins: Addresses,
    console_sign_ins: Addresses,
    told: Addresses,
    counted: IntCounterVec,
}

impl Tries {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Requests without a token that opens anything, and sign-ins that began, by what was tried and outcome: answered, or \
                    held_back (429) because its address did so too often";
        let counted = IntCounterVec::new(Opts::new("gateway_http_tries_total", help), &["tried", "outcome"])?;
        registry.register(Box::new(counted.clone()))?;
        let (tokens, sign_ins) = (Addresses::new(TOKENS), Addresses::new(SIGN_INS));
        let (console_sign_ins, told) = (Addresses::new(SIGN_INS), Addresses::new(TOKENS));
        Ok(Self { tokens, sign_ins, console_sign_ins, told, counted })
    }

    /// Whether the address of this request may try once more.
    pub fn may(&self, tried: Try, request: &HttpRequest, now: Instant) -> Result<(), HeldBack> {
        let may = self.of(tried).may(address(request), now);
        let outcome = if may.is_ok() { "answered" } else { "held_back" };
        self.counted.with_label_values(&[tried.name(), outcome]).inc();
        may.map_err(|Refused { wait, is_first }| {
            // Once, until it may again: what it is about is not to fill the log.
            if is_first {
                tracing::warn!(
                    place = place_of(request),
                    tried = tried.name(),
                    "an address is held back: it tries too often"
                );
            }
            HeldBack { wait }
        })
    }

    /// Whether what an address does without a right is in the log once more: as often as it may try tokens, and it uses up none.
    pub fn is_told(&self, request: &HttpRequest, now: Instant) -> bool {
        self.told.may(address(request), now).is_ok()
    }

    /// It came to a good end, or to none by no fault of who tried, and does not count.
    pub fn ended_well(&self, tried: Try, request: &HttpRequest, now: Instant) {
        self.of(tried).give_back(address(request), now);
    }

    fn of(&self, tried: Try) -> &Addresses {
        match tried {
            Try::Token => &self.tokens,
            Try::SignIn => &self.sign_ins,
            Try::ConsoleSignIn => &self.console_sign_ins,
        }
    }
}

/// The other end of the connection: of IPv6 its network, in which a machine has as many addresses as it likes.
fn address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| network(peer.ip()))
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[derive(Clone, Copy)]
struct Allowance {
    at_once: u32,
    every: Duration,
}

struct Addresses {
    allowance: Allowance,
    used: Mutex<HashMap<IpAddr, Used>>,
}

struct Used {
    /// When all that was used has come back.
    until: Instant,
    is_held_back: bool,
}

struct Refused {
    wait: Duration,
    is_first: bool,
}

impl Addresses {
    fn new(allowance: Allowance) -> Self {
        Self { allowance, used: Mutex::default() }
    }

    fn may(&self, address: IpAddr, now: Instant) -> Result<(), Refused> {
        let Allowance { at_once, every } = self.allowance;
        let mut all = self.used.lock();
        if all.len() >= ADDRESSES_MAX && !all.contains_key(&address) {
            make_room(&mut all, now);
        }
        let used = all.entry(address).or_insert(Used { until: now, is_held_back: false });
        let until = used.until.max(now) + every;
        let over = until.duration_since(now).saturating_sub(every * at_once);
        if over > Duration::ZERO {
            let is_first = !std::mem::replace(&mut used.is_held_back, true);
            return Err(Refused { wait: over, is_first });
        }
        *used = Used { until, is_held_back: false };
        Ok(())
    }

    fn give_back(&self, address: IpAddr, now: Instant) {
        if let Some(used) = self.used.lock().get_mut(&address) {
            used.until = used.until.checked_sub(self.allowance.every).unwrap_or(now).max(now);
        }
    }
}

/// Those that have everything back go, and if that is not enough the half that has used least.
fn make_room(all: &mut HashMap<IpAddr, Used>, now: Instant) {
    all.retain(|_, used| used.until > now);
    if all.len() >= ADDRESSES_MAX {
        let mut ends: Vec<Instant> = all.values().map(|used| used.until).collect();
        let middle = ends.len() / 2;
        let (_, middle, _) = ends.select_nth_unstable(middle);
        let middle = *middle;
        all.retain(|_, used| used.until > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const THREE: Allowance = Allowance { at_once: 3, every: Duration::from_secs(10) };

    fn ip(text: &str) -> IpAddr {
        network(text.parse().expect("an address"))
    }

    fn wait(addresses: &Addresses, address: IpAddr, now: Instant) -> Option<Duration> {
        addresses.may(address, now).err().map(|refused| refused.wait)
    }

    #[test]
    fn an_address_may_try_some_times_at_once_and_then_as_time_passes() {
        let (addresses, now, one) = (Addresses::new(THREE), Instant::now(), ip("192.0.2.1"));
        for _ in 0..3 {
            assert_eq!(wait(&addresses, one, now), None);
        }
        assert_eq!(wait(&addresses, one, now), Some(10 * SECOND));
        assert_eq!(wait(&addresses, one, now + 4 * SECOND), Some(6 * SECOND), "who is held back uses nothing up");
        assert_eq!(wait(&addresses, ip("192.0.2.2"), now), None, "others are not");
        assert_eq!(wait(&addresses, one, now + 10 * SECOND), None);
        assert_eq!(wait(&addresses, one, now + 10 * SECOND), Some(10 * SECOND));
        for _ in 0..3 {
            assert_eq!(wait(&addresses, one, now + 60 * SECOND), None, "all of it has come back");
        }
    }

    #[test]
    fn what_ends_well_does_not_count() {
        let (addresses, now, one) = (Addresses::new(THREE), Instant::now(), ip("192.0.2.1"));
        for _ in 0..20 {
            assert_eq!(wait(&addresses, one, now), None);
            addresses.give_back(one, now);
        }
        addresses.give_back(one, now);
        for _ in 0..3 {
            assert_eq!(wait(&addresses, one, now), None);
        }
        assert_eq!(wait(&addresses, one, now), Some(10 * SECOND), "nobody gets more than everybody has");
    }

    #[test]
    fn it_is_told_once_that_an_address_is_held_back() {
        let (addresses, now, one) = (Addresses::new(THREE), Instant::now(), ip("192.0.2.1"));
        let told = |now| addresses.may(one, now).err().is_some_and(|refused| refused.is_first);
        let first: Vec<bool> = (0..6).map(|_| told(now)).collect();
        assert_eq!(first, [false, false, false, true, false, false]);
        assert!(!told(now + 10 * SECOND) && told(now + 10 * SECOND), "and again after it could");
    }

    #[test]
    fn an_address_is_a_network_where_one_machine_has_many() {
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:0:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"), "on a listener for both");
    }

    #[test]
    fn memory_is_bounded_and_who_tries_most_is_remembered() {
        let (addresses, now, guesser) = (Addresses::new(THREE), Instant::now(), ip("192.0.2.1"));
        while wait(&addresses, guesser, now).is_none() {}
        for number in 0..3 * u32::try_from(ADDRESSES_MAX).expect("small") {
            assert_eq!(wait(&addresses, IpAddr::V4(Ipv4Addr::from_bits(number)), now), None);
            assert!(addresses.used.lock().len() <= ADDRESSES_MAX);
        }
        assert_eq!(wait(&addresses, guesser, now), Some(10 * SECOND));
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_that_are_enough() {
        for (millis, seconds) in [(1, 1), (999, 1), (1_000, 1), (1_001, 2), (10_000, 10)] {
            assert_eq!(HeldBack { wait: Duration::from_millis(millis) }.seconds(), seconds);
        }
    }
}
