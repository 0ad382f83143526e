mod answers;
mod lanes;
mod requests;
mod standings;
