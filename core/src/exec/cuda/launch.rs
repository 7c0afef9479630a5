//! One launch of a kernel as plans hold it: numbers known, addresses not yet.

/// Names of the kernels in the images, in the order of [`Kernel`].
macro_rules! kernels {
    ($($variant:ident $name:literal)*) => {
        /// The kernels. What each reads stands beside it in `kernels/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kernel { $(#[doc = $name] $variant),* }

        /// Every kernel's name, by its number.
        pub(super) const NAMES: &[&std::ffi::CStr] = &[$(match std::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => c"",
        }),*];
    };
}

kernels! {
    Conv "conv"
    ConvGrouped "conv_grouped"
    ConvExact "conv_exact"
    ConvBf16 "conv_bf16"
    ConvF16 "conv_f16"
    GroupNorm "group_norm"
    ChannelNorm "channel_norm"
    BatchNorm "batch_norm"
    Activation "activation"
    Add "add"
    ScaleChannels "scale_channels"
    Affine "affine"
    TimestepEmbedding "timestep_embedding"
    CodebookIndex "codebook_index"
    CodebookLookup "codebook_lookup"
    CopyRows "copy_rows"
    PixelShuffle "pixel_shuffle"
    UpsampleNearest2 "upsample_nearest2"
    MaxPool2 "max_pool2"
    GatherTokens "gather_tokens"
    ScatterTokens "scatter_tokens"
    Attention "attention"
    AttentionWide "attention_wide"
    RowsToSpectrum "rows_to_spectrum"
    TurnColumns "turn_columns"
    FilterHidden "filter_hidden"
    FilterMask "filter_mask"
    SpectrumToRows "spectrum_to_rows"
    Fill "fill"
    CopyWords "copy_words"
    Cut "cut"
    BlendAcross "blend_across"
    BlendDown "blend_down"
    CheckFinite "check_finite"
    StepField "step_field"
    Enlarge "enlarge"
    Ranges "ranges"
    ReadCodes "read_codes"
    Colours "colours"
    EnlargeCodes "enlarge_codes"
    WritePlane "write_plane"
}

/// What wide convolutions multiply in; they sum in f32, and everything else is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exec) enum Precision {
    F32,
    Bf16,
    F16,
}

/// Where a kernel's input lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the kernel does without.
    Nothing,
    /// In the memory of results, in f32 elements.
    Arena(usize),
    /// In the plan's tables, in f32 elements.
    Table(usize),
    /// The weight tensor of that number.
    Weight(usize),
}

/// A kernel with all its numbers.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) kernel: Kernel,
    /// Blocks across and down.
    pub(super) grid: [u32; 2],
    /// Threads of a block: a power of two, 256 at most.
    pub(super) threads: u32,
    /// Values of shared memory.
    pub(super) shared: usize,
    pub(super) inputs: [Place; 5],
    /// Place of the result in the memory of results.
    pub(super) out: usize,
    pub(super) n: [i64; 16],
    pub(super) f: [f32; 4],
}

/// What a kernel gets: `Call` in `kernels/prims.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) inputs: [u64; 5],
    pub(super) out: u64,
    pub(super) n: [i64; 16],
    pub(super) f: [f32; 4],
}
