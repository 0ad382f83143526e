mod answers;
mod lanes;
mod requests;
mod visitability;

#[test]
fn visitors_get_half_of_the_descriptors() {
    for (open_files, most) in [(0, 1), (256, 42), (1024, 170), (3071, 511), (3072, 512), (u64::MAX, 512)] {
        assert_eq!(super::most_visitors(open_files), most, "{open_files}");
    }
}
