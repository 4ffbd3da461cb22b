//! What the scenarios stand on.

pub mod gateway;
pub mod house;
pub mod intake;
pub mod outbox;
pub mod publishing;
pub mod rabbitmq;
pub mod records;
pub mod world;
