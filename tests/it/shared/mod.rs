//! Several gateways on one database: what one of them does, another goes on with.

mod chaos;
mod copies;
mod duties;
mod names;
mod order;
mod quota;
mod sets;
mod stops;
mod upgrade;
