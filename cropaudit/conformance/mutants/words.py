"""Each mutant's name, the check that must name it (none of a sound one), and what it does.

A line that is indented continues the one above it.
"""

__all__ = ["words"]

_TABLE = """
centre-bias | window law | windows prefer the centre
off-by-one | window law | the last origin never occurs
fixed-crop | window law | the window is always the same
normalise-before-crop | non-interference | statistics of the whole image enter each crop
resize-before-crop | window law | the image is halved before the crop
blur-before-crop | non-interference | a filter reads beyond the window
rotate-before-crop | window law | the image is turned first
jpeg-before-crop | non-interference | blocks of JPEG mix pixels
reflect-padding | window law | the padding mirrors the image, which the claim leaves out
copied-border | non-interference | the padding is claimed to be constant, and mirrors the image
crops-apart | label alignment | image and mask are cut apart
object-crop | non-interference | the window is drawn to labelled pixels
void-crop | non-interference | windows of ignored labels are drawn again
blank-crop | non-interference | windows that are white are drawn again
class-crop | non-interference | the window is drawn to some classes
last-window-anywhere | window law | where no window fits, the one that is taken lies anywhere
padded-once | window law | small images are padded in the middle, and said to be padded on both
  sides
four-crops-as-one | window law | four crops of an image are claimed to be one
mosaic | non-interference | a thumbnail of the image is mixed in
padding-counted-twice | inclusion rate | rho was computed with twice the padding, and so is too
  small
shuffle-for-poisson | batch law | A shuffled list is passed off as Poisson sampling.
favoured-record | batch law | One record is drawn three times as often as the others.
dropped-records | batch law | Four of 64 records never join a batch.
several-crops-as-one | batch law | Two crops of each image are accounted as one.
same-order | batch law | The list is shuffled once and not in each epoch.
drop-last-rate | steps and rate | Opacus samples at one over the number of batches, which drop_last
  makes smaller.
reseeded-epochs | independence | The generator of the windows is seeded again in each epoch.
cached-crops | independence | The crop of an image is made once and used in all epochs.
one-crop-a-batch | independence | One window is drawn for all images of a batch.
equal-workers | independence | Workers hold copies of one numpy generator and draw the same windows.
one-epoch-more | steps and rate | The loop runs for one epoch more than the accountant was told.
wrong-rate | steps and rate | Batches are twice as large as the accountant was told.
half-noise-training | noise | Opacus is asked for half the noise that the accountant was told.
noise-removed | noise | The noise multiplier is set to 0 after make_private.
open-training | noise | Nothing is clipped, no noise is added, and one fixed corner is cut.
ghost-without-its-loss | clipping | Ghost clipping is asked for, and a loss is used that knows
  nothing of it.
cached-crops-in-training | independence | The crop of an image is made once and used in all epochs.
drawn-to-objects | non-interference | Of several crops the one that shows most of a label is taken.
normalised-first | non-interference | Each image is normalised by its own statistics before it is
  cropped.
mean-of-the-batch | isolation | The loss is a mean over all valid pixels of a batch, so that images
  share a divisor.
shuffled-training | batch law | Opacus' optimiser runs on a shuffled list, accounted as Poisson
  sampling.
batchnorm-train | isolation | BatchNorm in training mode normalises each image by the whole batch
revived-batchnorm | isolation | BatchNorm is frozen by eval(), and the trainer's train() revives it
channels-last | per-sample gradients | Opacus' hooks take wrong gradients of convolutions that are
  fed channels-last images
batch-loss | isolation | the loss is divided by the labelled pixels of the whole batch
feature-bank | kept state | the features of each batch are pushed into a buffer, which the
  checkpoint holds
prototypes | kept state | a running average of the features of earlier batches moves the features of
  later ones
noise-off | noise | The noise multiplier is left at 0
noise-halved | noise | Half of the noise that is claimed
noise-unit | noise | Noise of deviation sigma instead of sigma C, at C = 2
deviation-for-multiplier | noise | The deviation sigma C is handed over as the noise multiplier, at
  C = 0.5
noise-skipped-on-empty | noise | No step is done where the Poisson batch is empty
noise-repeated | noise | The random state is set anew in each step, so each step adds the same noise
noise-divided-twice | noise | The noise is divided by the batch size before it joins the sum, and
  again with it
noise-per-microbatch | noise | Every microbatch is noised for itself: batches get noise by their
  size
clip-off | clipping | Gradients are noised but not clipped
clip-of-mean | clipping | The batch's mean gradient is clipped, with noise fit for one image of it
clip-after-accumulation | clipping | The sum of the batch is clipped instead of each image's
  gradient
clip-per-layer | clipping | Opacus clips each layer to C of its own; the noise is that for C in all
ema-side-channel | update | A running average of the raw gradients is mixed into the weights after
  the noisy step
running-statistics | kept state | The mean image of the batches is kept in a buffer, which is
  released with the weights
feature-memory | kept state | The features of the last batch are kept in a buffer, scaled to one
noise-by-parameter | noise | Biases and scales of normalisation layers, of one dimension, get no
  noise
clean-top | noise | The coordinates that images pull at the most leave clipped, but without noise
loss-guard | noise | A step is left out, noise and all, where the loss jumps above its average
outlier-guard | noise | A step is left out where one image's gradient is far above the usual norm
realised-batch | noise | The noisy sum is divided by the number of images that came, which the noise
  then shows
stacked-passes | noise | Opacus is called backward twice for a step of two images or more, and
  halves the update
clip-late | clipping | Only what is beyond ten times C is clipped to C
unlabelled-nan | finite updates | The loss of an image without a labelled pixel is 0 / 0, which
  clipping does not bound
add-remove-accountant | accountant | the rate q rho was put into an accountant of adding and
  removing records
replace-one-accountant | accountant | the rate q rho was put into an accountant of replacing records
sensitivity-c | accountant | a changed patch is said to move the sum by C, and not by 2 C
clean-crop | | a crop and a flip
clean-jitter | | colours change after the crop
clean-blur | | a filter after the crop
clean-turn | | turned after the crop
clean-equalise | | equalised after the crop
clean-padding | | constant padding, claimed
clean-mirror | | mirrored padding, claimed
clean-resized | | a crop of random size, claimed
clean-long | | a crop of random size of long images, where often none fits
clean-bytes | | a crop whose labels are bytes
clean-four | | four crops of an image, as claimed
clean-older | | torchvision's older crop, of images alone
poisson | | Opacus' Poisson loader.
fixed-size | | Batches of one size, drawn afresh.
shuffled | | A list that is shuffled in each epoch.
endless | | The same without an end.
shuffled-workers | | The same, read by two workers.
private-training | | Opacus' make_private as its guide says.
training-in-pieces | | The same with a BatchMemoryManager.
training-functorch | | The same, gradients by functorch.
training-expanded | | The same, gradients by expanded weights.
training-ghost | | The same with ghost clipping and its loss.
groupnorm | | GroupNorm
frozen-batchnorm | | BatchNorm that stays frozen under train()
ghost-model | | ghost clipping
mended-pspnet | | PSPNet mended for per-sample gradients
opacus-step | | Opacus: hooks and DPOptimizer
microbatches | | Opacus with batches larger than the memory, noised once a logical step
momentum | | Opacus with momentum and weight decay
adam | | Opacus with Adam
per-layer-shares | | Opacus clipping each layer to C / sqrt(2), so that an image adds C at most
ghost-step | | Opacus' ghost clipping
loop-step | | By hand, one image after the other
vmap-step | | By hand, with torch.func.vmap
loop-momentum | | By hand, with momentum
limited-norm | | Opacus, and the norm of the noisy gradient is limited before the weights move
auto-scaled | | By hand, scaled by C / (norm + 0.01) as in AUTO-S, never more than C
dropping | | By hand, images with gradients above C are left out, so that one adds C at most
clean-claim | | the accountant's own epsilon
"""


def words() -> list[tuple[str, str, str]]:
    """Returns name, check and summary of each, in the order in which they are listed."""
    rows = [line.split("|", 2) for line in _TABLE.strip().replace("\n ", "").splitlines()]
    return [(name.strip(), check.strip(), summary.strip()) for name, check, summary in rows]
