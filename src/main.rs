//! The program `git-ci`. Everything is in the library; see its documentation.

fn main() -> std::process::ExitCode {
    git_ci::commands::main()
}
