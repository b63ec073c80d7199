//! Body models against golden values (`parity` of the shared reference data) and finite differences.

mod device;
mod differences;
mod flame;
mod golden;
mod smpl;
mod store;
mod synthetic;
