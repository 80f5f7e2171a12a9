//! Which of the numbers in a text are codes of SNOMED CT.

/// Codes of categories taken from one answer at most.
const CATEGORIES_MAX: usize = 20;

/// The SNOMED CT codes in a text: their last digit is a check digit, and the two
/// before it say that they name a concept, so that hardly any other number passes.
pub(super) fn snomed_codes(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for run in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        let is_code = (6..=18).contains(&run.len())
            && run.bytes().all(|byte| byte.is_ascii_digit())
            && !run.starts_with('0')
            && matches!(&run[run.len() - 3..run.len() - 1], "00" | "10")
            && passes_verhoeff(run);
        if is_code && found.len() < CATEGORIES_MAX && !found.iter().any(|known| known == run) {
            found.push(run.to_owned());
        }
    }
    found
}

/// Verhoeff's check over all digits, the last of which is the check digit.
fn passes_verhoeff(digits: &str) -> bool {
    const PRODUCT: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut check = 0_u8;
    for (place, byte) in digits.bytes().rev().enumerate() {
        let mut digit = byte - b'0';
        for _ in 0..place % 8 {
            digit = STEP[usize::from(digit)];
        }
        check = PRODUCT[usize::from(check)][usize::from(digit)];
    }
    check == 0
}
