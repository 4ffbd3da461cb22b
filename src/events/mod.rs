//! Published facts.
//!
//! Enters: the outbox. Leaves: CloudEvents 1.0 on an AMQP topic exchange and in the HTTP feed.
//! Guarantees: at least once, always with the same id, in order within a thread; an event leaves the
//! outbox only after the broker confirmed it; nothing grows in memory while the broker is away.

pub mod asyncapi;
mod cloud_event;
mod feed;
mod inline;
mod line;
mod metrics;
mod publisher;
mod schemas;
mod session;
mod window;

pub use cloud_event::{MEDIA_TYPE, cloud_event};
pub use feed::{Feed, Follow, Followed};
pub use inline::InlineDocuments;
pub use line::{Awaited, Line, Lines, Said};
pub use metrics::PublisherMetrics;
pub use publisher::Publisher;
pub use schemas::EventSchemas;
pub use session::SessionError;
