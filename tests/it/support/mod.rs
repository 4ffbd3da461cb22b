//! What the scenarios stand on.

pub mod browser;
pub mod canary;
pub mod cluster;
pub mod consumer;
pub mod gateway;
pub mod intake;
pub mod ledgers;
pub mod load;
pub mod outbox;
pub mod pas;
#[expect(dead_code, reason = "unit tests use more of it")]
pub mod postgres;
pub mod prometheus;
pub mod proxy;
pub mod publishing;
pub mod rabbitmq;
pub mod receiver;
pub mod records;
pub mod referrals;
pub mod sender;
pub mod serve;
pub mod waiting;
pub mod world;
