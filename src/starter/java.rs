//! Maven and Gradle.

use super::job::{Kind, Suggestion};
use super::project::Dir;

pub(super) fn maven(dir: &Dir<'_>) -> Option<Kind> {
    if !dir.has(&["pom.xml"]) {
        return None;
    }
    let tool = if dir.has(&["mvnw"]) { "./mvnw" } else { "mvn" };
    let run = format!("{tool} --batch-mode --no-transfer-progress test");
    Kind::new("Maven", "maven", vec![Suggestion::new("test", run)])
}

pub(super) fn gradle(dir: &Dir<'_>) -> Option<Kind> {
    let files = [
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
    ];
    if !dir.has(&files) {
        return None;
    }
    let tool = if dir.has(&["gradlew"]) {
        "./gradlew"
    } else {
        "gradle"
    };
    let job = Suggestion::new("test", format!("{tool} --no-daemon check"))
        .because("A daemon would not outlive the job: whatever a job leaves running is ended.");
    Kind::new("Gradle", "gradle", vec![job])
}
