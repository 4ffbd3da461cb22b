//! The house from outside: real sockets, a real broker, a real store. One binary, so that it links once.

mod alerts;
mod amqp;
mod broker;
mod canary;
mod cli;
mod coverage;
mod crash;
mod documents;
mod history;
mod house;
mod http;
mod limits;
mod links;
mod metrics;
mod modes;
mod outbound;
mod outcomes;
mod promises;
mod replies;
mod samples;
mod shared;
mod simulation;
mod stories;
mod support;
mod tells;
mod watches;
