//! The whole house: in by HTTP and AMQP, through e-RS (the simulator), out as events.

mod by_amqp;
mod by_http;
mod changes_by_http;
mod fhir_by_http;
mod merges;
mod names;
mod patients;
mod peers;
mod reads;
mod refusals;
mod results;
mod retention;
