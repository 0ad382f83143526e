// Does its work and ends, with the code 0.
setTimeout(() => console.log('worked'), 100);
