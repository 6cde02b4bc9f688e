//! The Markdown pages of the repository as tests read them: their blocks of code with the marker above each, and their prose.

use std::path::{Path, PathBuf};

/// A fenced block of code.
pub struct Block {
    /// The page, relative to the repository, and the line of the fence, counted from 1.
    pub place: String,
    /// What stands behind the fence: `sh`, `toml`, or nothing.
    pub language: String,
    pub text: String,
    /// The comment right above, as it is between `<!--` and `-->`.
    pub marker: Option<String>,
    /// The nearest block of TOML above, on the same page.
    pub toml_above: Option<String>,
}

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, relative to the repository, in order.
pub fn all() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && !["target", "src", "fuzz"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 8 && found.contains(&"README.md".to_owned()), "{found:?}");
    found
}

pub fn read(page: &str) -> String {
    std::fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let text = read(page);
    let (mut blocks, mut toml_above, mut marker) = (Vec::new(), None, None);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.trim_start().strip_prefix("<!--") {
            let mut comment = comment.to_owned();
            while !comment.contains("-->") {
                let (_, more) = lines.next().unwrap_or_else(|| panic!("{page}: a comment without an end"));
                comment = format!("{comment}\n{more}");
            }
            marker = Some(comment.split("-->").next().unwrap().trim().to_owned());
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let indent = line.len() - line.trim_start().len();
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
            let text: String = inside.map(|line| line.get(indent..).unwrap_or("").to_owned() + "\n").collect();
            let language = language.trim().to_owned();
            let place = format!("{page}:{}", number + 1);
            let block = Block { place, language, text, marker: marker.take(), toml_above: toml_above.clone() };
            if block.language == "toml" {
                toml_above = Some(block.text.clone());
            }
            blocks.push(block);
        } else if !line.trim().is_empty() {
            marker = None;
        }
    }
    blocks
}

/// What is not a block and not a comment: `(line number, line)`.
pub fn prose(page: &str) -> Vec<(usize, String)> {
    let (mut inside, mut comment, mut found) = (false, false, Vec::new());
    for (number, line) in read(page).lines().enumerate() {
        let fence = line.trim_start().starts_with("```");
        comment |= !inside && line.trim_start().starts_with("<!--");
        if !fence && !inside && !comment {
            found.push((number + 1, line.to_owned()));
        }
        inside ^= fence && !comment;
        comment &= !line.contains("-->");
    }
    found
}

/// Words in backticks of a line.
pub fn code(line: &str) -> Vec<String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
