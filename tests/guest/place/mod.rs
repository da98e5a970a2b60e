//! Where credentials are placed, and what happens to the import on its way there.

mod fill;
mod hostile;
mod killed;
mod owners;
mod races;
