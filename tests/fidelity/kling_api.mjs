// A client that was written for the real platform (npm kling-api) completes jobs at the simulator.
// Environment: SIM_URL (https), SIM_ACCESS_KEY, SIM_SECRET_KEY, NODE_EXTRA_CA_CERTS.
// Prints one JSON line that the test compares with what the simulator remembers.
import { KlingAPI } from 'kling-api';

const { SIM_URL, SIM_ACCESS_KEY, SIM_SECRET_KEY } = process.env;
const kling = new KlingAPI({
  accessKey: SIM_ACCESS_KEY,
  secretKey: SIM_SECRET_KEY,
  baseUrl: SIM_URL,
});
const polling = { interval: 100, timeout: 20_000, showSpinner: false };

const created = await kling.textToVideo({
  model_name: 'kling-v2-6',
  // The library repeats a create after a 504 (2 s later): the repeat is what must succeed.
  prompt: 'a lighthouse at dusk [sim:create=504-before]',
  mode: 'std',
  duration: '5',
  external_task_id: 'fidelity-npm-video',
});
const video = await kling.waitForVideoResult(
  created.data.task_id,
  (id) => kling.queryTextToVideoTask(id),
  polling,
);
// Not with the library's own download: it refuses every local address.
const download = await fetch(video.data.task_result.videos[0].url);
const videoBytes = Buffer.from(await download.arrayBuffer());

const drawn = await kling.generateImage({
  model_name: 'kling-v2-1',
  prompt: 'a lighthouse',
  external_task_id: 'fidelity-npm-image',
});
const image = await kling.waitForImageResult(
  drawn.data.task_id,
  (id) => kling.queryImageGenTask(id),
  polling,
);

let refusal = '';
try {
  await kling.textToVideo({
    model_name: 'kling-v2-6',
    prompt: 'once more',
    external_task_id: 'fidelity-npm-video',
  });
} catch (error) {
  refusal = `${error.code ?? ''} ${error.message}`;
}

const now = Date.now();
const account = await kling.getAccountInfo(now - 1000, now);
console.log(
  JSON.stringify({
    task_id: created.data.task_id,
    status: video.data.task_status,
    duration: video.data.task_result.videos[0].duration,
    video_type: videoBytes.subarray(4, 8).toString('latin1'),
    video_bytes: videoBytes.length,
    image_status: image.data.task_status,
    image_url: image.data.task_result.images[0].url,
    refusal,
    packs: account.data.resource_pack_subscribe_infos.length,
  }),
);
