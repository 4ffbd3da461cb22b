//! People who sign in at the gateway, and their sessions at e-RS.
//!
//! Enters: browsers that are sent away to sign in and come back; what people choose. Leaves: who is here, as whom they act,
//! and a client that acts in their name. Guarantees: a sign-in is finished once, in the browser that it began in; refresh
//! tokens and everything that opens a session are sealed or digests before they reach the store; nobody acts as somebody
//! else, and nobody as more than e-RS says that they are (A030, A040).

mod begun;
mod browsers;
mod desk;
mod ending;
mod offers;
mod people;
mod person;
mod vault;
mod whose;

pub use desk::{Arrived, AsksErs, Desk, DeskError, NotAnswered, Sent, signed};
pub use ending::Ending;
pub use people::People;
pub use person::{Offer, Person};
pub use vault::SealedSession;
pub use whose::Whose;
