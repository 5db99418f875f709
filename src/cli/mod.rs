pub mod clean;
pub mod doctor;
pub mod down;
pub mod up;
